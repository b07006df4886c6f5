"""The short way of signing in does what the usual one does, in two statements, and leaves to it whatever is unusual."""

from collections.abc import Callable
from typing import Any

import pytest
from httpx2 import AsyncClient
from sqlmodel import col, select, update

from app.api import shortcut
from app.core import direct
from app.core.config import settings
from app.core.db import new_session
from app.models import AuditEvent, AuditOrigin, User, UserSession
from app.models.known_device import KnownDevice
from app.services import guesses, tokens
from app.services.chain import origin_digest
from tests.counting import statements
from tests.fixtures import NewClient
from tests.flows import V1, Account, problem, signed_in
from tests.limited import limited
from tests.short_ways import USUALLY, comparable, recorded_once

pytestmark = pytest.mark.stack(name="server")  # there is no short way on SQLite

OF_ITSELF = frozenset({"id", "session_token", "salt", "event_id", "target_id", "request_id", "origin"})
WAYS = pytest.mark.parametrize("more", [{}, USUALLY], ids=["short", "usual"])


async def login(account: Account, **more: Any) -> Any:
    given = {"email": account.email, "password": account.password}
    return await account.client.post(shortcut.LOGIN, **{"json": given, **more})


async def written(account: Account, answer: Any) -> list[dict[str, Any]]:
    """The session, its event, where that came from, and the device: what each sign-in has of its own left out."""
    token = tokens.parse_refresh_token(answer.json()["refresh_token"])
    assert token is not None
    async with new_session(read_only=True) as db:
        session = await db.get(UserSession, token.session_id)
        assert session is not None
        event = (
            await db.exec(
                select(AuditEvent)
                .where(AuditEvent.actor_id == session.user_id, AuditEvent.action == "session_opened")
                .order_by(col(AuditEvent.id).desc())
                .limit(1)
            )
        ).one()
        place = await db.get(AuditOrigin, event.id)
        device = (await db.exec(select(KnownDevice).where(KnownDevice.user_id == session.user_id))).one()
    assert event.target_id == str(session.user_id)
    assert place is not None
    assert event.origin == origin_digest(place.salt, place.ip, place.user_agent)
    rows = [row.model_dump(exclude=set(OF_ITSELF)) for row in (session, event, place, device)]
    assert all(value for row in rows for name, value in row.items() if name.endswith("_at") and name != "revoked_at")
    return [{name: value for name, value in row.items() if not name.endswith("_at")} for row in rows]


def was_short(asked: list[str]) -> bool:
    """Whether no more was asked than the short way asks."""
    return len(asked) == 2


async def change(account: Account, **values: Any) -> None:
    async with new_session() as db:
        await db.exec(update(User).where(col(User.email) == account.email).values(**values))
        await db.commit()


async def test_both_ways_answer_and_write_the_same(client: AsyncClient) -> None:
    account = Account(client)
    await account.register()
    first = await login(account)
    with statements() as asked:
        short = await login(account)
    assert was_short(asked), "\n".join(asked)
    with statements() as asked:
        usual = await login(account, **USUALLY)
    assert not was_short(asked)
    assert comparable(first) == comparable(short) == comparable(usual)
    assert await written(account, short) == await written(account, usual)
    for answer in (first, short, usual):
        account.pair = answer.json()
        assert (await account.me()).json()["email"] == account.email
        assert (await account.refresh()).status_code == 200


@WAYS
async def test_either_way_is_counted_and_logged_alike(client: AsyncClient, more: dict[str, Any]) -> None:
    account = await signed_in(client)
    with recorded_once("POST", shortcut.LOGIN):
        assert (await login(account, **more)).status_code == 200


@WAYS
async def test_a_refusal_says_the_same(client: AsyncClient, more: dict[str, Any]) -> None:
    account = await signed_in(client)
    stranger, wrong = Account(client), Account(client, account.email, "another-plum-otter-77")
    refused = [comparable(await login(one, **more)) for one in (stranger, wrong)]
    assert refused[0] == refused[1] == comparable(await login(stranger))
    assert problem(await login(wrong, **more)) == (401, "invalid_credentials")
    await change(account, is_active=False)
    assert problem(await login(account, **more)) == (401, "invalid_credentials")
    async with new_session(read_only=True) as db:
        user = (await db.exec(select(User).where(User.email == account.email))).one()
        told = select(AuditEvent).where(AuditEvent.action == "sign_in_failed", AuditEvent.target_id == str(user.id))
        assert len((await db.exec(told)).all()) == 3


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"content": b'{"email": "%s", "password": "%s", "more": 1}'}, 422),
        ({"content": b'{"email": "%s", "password": "%s", "password": "%s"}'}, 422),
        ({"content": b'{"email": "%s", "password": ""}'}, 422),
        ({"content": b"[]"}, 422),
        ({"content": b""}, 422),
        ({"content": b'{"email": "%s", "password": "%s"}', "headers": {"Content-Type": "text/plain"}}, 415),
        ({"content": b'{"email": "%s", "password": "%s"}', "headers": {"Content-Encoding": "gzip"}}, 415),
        ({"content": b'{"email": "%s", "password": "%s"}', "headers": {"X-Token-Delivery": "cookie"}}, 200),
        ({"content": b'{"email": "%s", "password": "%s"}', "headers": {"X-Token-Delivery": "pigeon"}}, 422),
    ],
    ids=str,
)
async def test_what_is_unusual_goes_the_usual_way(client: AsyncClient, sent: dict[str, Any], expected: int) -> None:
    account = await signed_in(client)
    body = sent["content"].replace(b"%s", account.email.encode(), 1).replace(b"%s", account.password.encode())
    headers = {"Content-Type": "application/json", **sent.get("headers", {})}
    answer = await client.post(shortcut.LOGIN, content=body, headers=headers)
    assert answer.status_code == expected, answer.text
    if headers.get("X-Token-Delivery") == "cookie":
        assert "refresh_token" not in answer.json()
        assert answer.headers["set-cookie"].startswith("__Secure-refresh=")


async def test_each_try_counts_once_whichever_way_it_goes(server: Callable[..., Any], new_client: NewClient) -> None:
    account = Account(new_client((await server(**limited(RATE_LIMIT_LOGIN="5/minute"))).url))
    await account.register()
    wrong = Account(account.client, account.email, "another-plum-otter-77")
    ways: list[tuple[Account, dict[str, Any]]] = [(account, {}), (account, USUALLY), (wrong, {}), (wrong, USUALLY)]
    answers = [await login(one, **more) for one, more in (*ways, (account, {}), (account, {}), (account, USUALLY))]
    assert [answer.status_code for answer in answers] == [200, 200, 401, 401, 200, 429, 429]
    left = [answer.headers["ratelimit"].partition(";t=")[0] for answer in answers]
    assert left == [f'"login";r={number}' for number in (4, 3, 2, 1, 0, 0, 0)]


@WAYS
@pytest.mark.parametrize("values", [{"is_active": False}, {"hashed_password": "another"}], ids=str)
async def test_who_loses_a_race_is_not_let_in(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], values: dict[str, Any]
) -> None:
    account = await signed_in(client)
    look_at = guesses.password_matches

    async def and_then(password: str, hashed: str | None) -> tuple[bool, str | None]:
        found = await look_at(password, hashed)
        await change(account, **values)
        return found

    monkeypatch.setattr(guesses, "password_matches", and_then)  # the moment between the hash and the session
    assert problem(await login(account, **more)) == (401, "invalid_credentials")


async def test_past_half_of_the_cap_it_is_counted_under_the_lock(client: AsyncClient) -> None:
    account = Account(client)
    await account.register()
    for number in range(settings.sessions_per_user):
        with statements() as asked:
            assert (await login(account)).status_code == 200
        assert was_short(asked) == (number < settings.sessions_per_user // 2), (number, asked)


async def test_a_connection_that_broke_signs_in_all_the_same(client: AsyncClient) -> None:
    account = await signed_in(client)
    async with direct.connected() as connection:
        connection.terminate()
    assert (await login(account)).status_code == 200
    assert (await client.get(f"{V1}/health")).status_code == 200
