"""The ring of signing keys turns without one wrong answer, and what was retired is forgotten in time."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import AsyncClient
from joserfc import jwt
from sqlmodel import select

from app.core import security, signing_keys
from app.core.db import new_session
from app.core.signing_keys import Ring, key_of
from app.models import AuditEvent, Change, Installation
from app.services import key_ring, principal_cache
from tests.fixtures import Clock, NewClient
from tests.flows import V1, Account, problem, signed_in
from tests.stack import Server
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("clean")
JWKS = "/.well-known/jwks.json"


@pytest.fixture
async def ring() -> AsyncIterator[None]:
    """Puts the ring of this process's database back as it was."""
    kept = ("signing_number", "signing_since", "signing_retired")
    async with new_session(read_only=True) as db:
        before = (await db.exec(select(Installation))).one()
    yield
    async with new_session() as db:
        now = (await db.exec(select(Installation))).one()
        now.sqlmodel_update({name: getattr(before, name) for name in kept})
        await db.commit()
    forget()


def forget() -> None:
    """Have this process know nothing of the ring, as after its start."""
    signing_keys.use(Ring())
    key_ring._reader.began = key_ring.NEVER


async def rotate(*, at_once: bool = True) -> str:
    """As `neoforge keys rotate` does, which is another process: ours is not told."""
    async with new_session() as db:
        kid = await key_ring.rotate(db, at_once=at_once)
        await db.commit()
    return kid


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims."""
    header, claims, _ = token.split(".")
    return json.loads(base64.urlsafe_b64decode(header + "==")), json.loads(base64.urlsafe_b64decode(claims + "=="))


def signed(claims: dict[str, Any]) -> str:
    """A token with these claims by the key that signs."""
    kid, key = signing_keys.signing()
    with security._quietly():
        return jwt.encode({"typ": "at+jwt", "alg": "EdDSA", "kid": kid}, claims, key, algorithms=["EdDSA"])


def kid_of(account: Account) -> str:
    return str(parts(account.pair["access_token"])[0]["kid"])


async def published(client: AsyncClient) -> list[str]:
    return [key["kid"] for key in (await client.get(JWKS)).json()["keys"]]


async def test_a_rotation_signs_nobody_out_and_the_next_key_is_public_before_it_signs(
    client: AsyncClient, ring: None
) -> None:
    forget()
    account = await signed_in(client)
    first, following = await published(client)
    assert kid_of(account) == first
    assert await rotate() == following
    forget()
    assert (await account.me()).status_code == 200
    again = await signed_in(client)
    assert kid_of(again) == following
    assert (await published(client))[0] == following
    assert set(await published(client)) > {first, following}


async def test_who_is_kept_is_asked_for_again_when_the_keys_turn(client: AsyncClient, ring: None) -> None:
    forget()
    account = await signed_in(client)

    def kept() -> bool:
        return principal_cache.find(account.pair["access_token"].encode()) is not None

    async def is_kept() -> bool:
        return (await account.me()).status_code == 200 and kept()

    await eventually(is_kept)
    await rotate()
    await eventually(lambda: not kept())
    assert (await account.me()).status_code == 200


async def test_a_retired_key_verifies_as_long_as_its_tokens_live_and_not_longer(
    client: AsyncClient, clock: Clock, ring: None
) -> None:
    forget()
    account = await signed_in(client)
    old = kid_of(account)
    # One that says that it lives for an hour, as somebody could make it who has the key.
    claims = parts(account.pair["access_token"])[1]
    account.pair["access_token"] = signed({**claims, "exp": claims["exp"] + 3600})
    await rotate()
    forget()
    clock.advance(timedelta(minutes=15, seconds=59))
    assert (await account.me()).status_code == 200
    assert old in await published(client)
    clock.advance(timedelta(seconds=2))
    assert problem(await account.me()) == (401, "invalid_access_token")
    assert old not in await published(client)


async def test_several_rotations_at_once_forget_no_key_that_has_live_tokens(client: AsyncClient, ring: None) -> None:
    forget()
    accounts = []
    for _ in range(4):
        accounts.append(await signed_in(client))
        await rotate()
        forget()
    assert len({kid_of(account) for account in accounts}) == 4
    for account in accounts:
        assert (await account.me()).status_code == 200


async def test_a_key_that_this_process_has_not_heard_of_makes_it_look_again_at_once(
    client: AsyncClient, ring: None
) -> None:
    forget()
    await signed_in(client)
    known = signing_keys._ring
    await rotate()
    await rotate()
    signing_keys.use(Ring(number=known.number + 2))
    account = await signed_in(client)
    assert kid_of(account) == key_of(known.number + 2)[0]
    signing_keys.use(known)
    assert (await account.me()).status_code == 200


async def test_a_key_that_is_none_of_ours_costs_no_statement(client: AsyncClient) -> None:
    account = await signed_in(client)
    head, claims = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({**parts(account.pair["access_token"])[0], "kid": "nobodys"}, {"sub": "nobody"})
    )
    account.pair["access_token"] = f"{head}.{claims}.{account.pair['access_token'].rpartition('.')[2]}"
    looked = key_ring._reader.began = time.monotonic() + 60  # it has just looked, however slow this machine is
    assert problem(await account.me()) == (401, "invalid_access_token")
    assert key_ring._reader.began == looked
    key_ring._reader.began = key_ring.NEVER


async def test_the_next_key_has_to_be_public_for_as_long_as_clients_keep_the_set(clock: Clock, ring: None) -> None:
    await rotate()
    with pytest.raises(key_ring.TooEarly, match="wait 300 s more"):
        await rotate(at_once=False)
    clock.advance(timedelta(seconds=299))
    with pytest.raises(key_ring.TooEarly):
        await rotate(at_once=False)
    clock.advance(timedelta(seconds=2))
    await rotate(at_once=False)


async def test_a_rotation_is_audited_and_stands_in_the_feed(ring: None) -> None:
    kid = await rotate()
    async with new_session(read_only=True) as db:
        event = (await db.exec(select(AuditEvent).where(AuditEvent.target_id == kid))).all()[-1]
        change = (await db.exec(select(Change).where(Change.subject == kid))).one()
    assert (event.action, event.target_type, event.actor_id) == ("signing_key_rotated", "key", None)
    assert change.topic == "signing"


async def test_of_two_rotations_at_once_one_is_made(ring: None) -> None:
    answers = await asyncio.gather(rotate(), rotate(), return_exceptions=True)
    async with new_session(read_only=True) as db:
        row = (await db.exec(select(Installation))).one()
    turned = [answer for answer in answers if isinstance(answer, str)]
    assert turned
    assert key_of(row.signing_number)[0] in turned
    assert all(isinstance(answer, (str, key_ring.TooEarly)) for answer in answers)


async def test_no_answer_is_wrong_while_the_ring_turns_under_load(
    server: Callable[..., Awaitable[Server]], new_client: NewClient, ring: None
) -> None:
    one, two = [(await server(RATE_LIMIT_ENABLED="false")).url for _ in range(2)]
    kids: set[str] = set()
    wrong: list[str] = []
    turning = asyncio.Event()

    def look(answer) -> None:
        if answer.status_code >= 400:
            wrong.append(answer.text)

    async def live(here: str, there: str) -> None:
        """Sign in at one server and ask the other one, at once and later."""
        here_client, there_client = new_client(here), new_client(there)
        account = Account(here_client)
        look(await account.register())
        while not turning.is_set():
            look(await account.login())
            kids.add(kid_of(account))
            for _ in range(5):
                look(await there_client.get(f"{V1}/users/me", headers=account.bearer))
                look(await account.me())
            look(await account.refresh())

    async def stay(here: str, there: str) -> None:
        """Use one token all along."""
        account = await signed_in(new_client(here))
        while not turning.is_set():
            look(await new_client(there).get(f"{V1}/users/me", headers=account.bearer))
            look(await account.me())

    async with asyncio.TaskGroup() as together:
        for here, there in ((one, two), (two, one)):
            together.create_task(live(here, there))
            together.create_task(stay(here, there))
        for number in range(6):
            kid = await rotate()
            if number % 2:  # every other time the next rotation follows before anybody has heard of this one
                await eventually(lambda kid=kid: kid in kids)
        turning.set()
    assert not wrong, wrong[:3]
    assert len(kids) >= 3
