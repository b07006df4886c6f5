"""What one process has read of an account another finds in Redis, and never uses when it may be older than a second."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import AsyncClient
from sqlmodel import col, update

from app.core import redis, secrets
from app.core.db import new_session
from app.core.security import read_access_token
from app.crud import change, principal
from app.crud.change import Place
from app.models import User
from app.schemas.principal import Principal
from app.services import feed, sessions, user_cache
from app.services.user_cache import Whose
from tests.faults.proxy import Proxy
from tests.flows import Account, signed_in
from tests.stack import Server
from tests.waiting import eventually

pytestmark = pytest.mark.stack(name="server")  # a file is beside every process: nothing is shared
StartServer = Callable[..., Awaitable[Server]]
NewClient = Callable[[str], AsyncClient]


@pytest.fixture
async def account(client: AsyncClient) -> Account:
    await feed.read()
    return await signed_in(client)


def whose(account: Account) -> Whose:
    claims = read_access_token(account.pair["access_token"])
    return Whose(claims.user_id, claims.session_id)


async def read(account: Account) -> tuple[list[Principal], Place]:
    return await principal.load([whose(account).session_id])


async def shared(account: Account) -> Principal | None:
    """What another process would find."""
    return (await user_cache.get_user_cache([whose(account)])).get(whose(account))


async def share(account: Account) -> str:
    """Put it there as a process does that has just read it; what then stands there."""
    await user_cache.set_user_cache(*await read(account))
    stored = await redis.redis_client().get(await key(account))
    assert stored
    return str(stored)


async def key(account: Account) -> str:
    return await redis.key(f"user:{whose(account).user_id}")


async def put(account: Account, stored: str | bytes) -> None:
    await redis.redis_client().set(await key(account), stored)


async def change_elsewhere(account: Account, **values: Any) -> None:
    """As another process does: this one hears of it by the feed."""
    async with new_session() as db:
        await db.exec(update(User).where(col(User.id) == whose(account).user_id).values(**values))
        await change.record(db, change.USER, whose(account).user_id)
        await db.commit()


# --- what it is for -------------------------------------------------------------------------------------------------


async def test_what_one_process_has_read_another_finds_in_redis(server: StartServer, new_client: NewClient) -> None:
    one, other = [new_client((await server(RATE_LIMIT_PROCESSES="2")).url) for _ in range(2)]
    account = await signed_in(one)
    assert (await account.me()).status_code == 200

    async def is_there() -> bool:
        return bool(await redis.redis_client().exists(await key(account)))

    await eventually(is_there)
    answer = await Account(other, account.email, account.password, account.pair).me()
    assert (answer.status_code, answer.json()["email"]) == (200, account.email)
    assert await read_by(one) == {"database": 1}
    assert await read_by(other) == {"redis": 1}


async def read_by(client: AsyncClient) -> dict[str, int]:
    """How many were read from where, as the metrics say."""
    lines = (await client.get("/api/v1/metrics")).text.splitlines()
    found = (line.split() for line in lines if line.startswith("principals_read_total{"))
    return {name.split('"')[1]: int(float(value)) for name, value in found if float(value)}


async def test_it_says_what_the_database_does_and_expires(account: Account) -> None:
    await share(account)
    assert [await shared(account)] == (await read(account))[0]
    assert 0 < await redis.redis_client().pttl(await key(account)) <= user_cache.LIFE / timedelta(milliseconds=1)


async def test_it_is_dropped_when_the_account_changes(account: Account) -> None:
    await share(account)
    answer = await account.client.put("/api/v1/users/me", headers=account.bearer, json={"full_name": "Ada"})
    assert answer.status_code == 200

    async def is_gone() -> bool:
        return not await redis.redis_client().exists(await key(account))

    await eventually(is_gone)


# --- what is not used ------------------------------------------------------------------------------------------------


async def test_a_copy_that_comes_late_is_not_used(account: Account) -> None:
    """Whoever has read it stood still for a moment, during which the account changed."""
    old = await read(account)
    await change_elsewhere(account, full_name="Ada")
    await feed.read()
    await user_cache.set_user_cache(*old)
    assert await shared(account) is None
    await share(account)
    found = await shared(account)
    assert found
    assert found.full_name == "Ada"


async def test_what_redis_did_not_forget_is_not_used(account: Account) -> None:
    """It was away when the session ended, and nothing was dropped."""
    stored = await share(account)
    async with new_session() as db:
        assert await sessions.end(db, *whose(account), reason="test")
        await db.commit()
    await put(account, stored)
    await feed.read()
    assert await shared(account) is None


async def test_what_this_process_has_changed_is_not_used_before_the_feed_says_so(account: Account) -> None:
    await share(account)
    assert await shared(account)
    feed.apply([(change.SESSION, str(whose(account).session_id))])  # as a unit of work does right after its commit
    assert await shared(account) is None


async def test_what_was_shared_before_a_late_commit_is_not_used(account: Account) -> None:
    """The transaction was open when the copy was read, so that its number says nothing."""
    async with new_session() as db:
        await change.record(db, change.USER, whose(account).user_id)
        async with new_session() as other:
            await change.record(other, change.USER, uuid4())
            await other.commit()
        old = await read(account)
        await db.commit()
    await feed.read()
    await user_cache.set_user_cache(*old)
    assert await shared(account) is None


async def test_nothing_is_used_while_the_feed_is_not_read(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    await share(account)
    assert await shared(account)
    monkeypatch.setattr(feed._reading, "began", feed.NEVER)  # the figure alone: a real pause is in tests/faults
    assert await shared(account) is None


async def test_after_a_pause_only_what_was_read_since_is_used(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await read(account)
    await change_elsewhere(account)
    monkeypatch.setattr(feed._reading, "began", feed.NEVER)  # as above
    await feed.read()
    await user_cache.set_user_cache(*old)
    assert await shared(account) is None
    await share(account)
    assert await shared(account)


async def test_another_servers_numbers_are_not_compared(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    principals, place = await read(account)
    await user_cache.set_user_cache(principals, replace(place, at=place.at + 1_000_000, server="1234.5"))
    assert await shared(account) is None
    moved = feed.moved()
    assert feed._reading.place
    monkeypatch.setattr(
        feed._reading, "place", replace(feed._reading.place, server="1234.5")
    )  # as if one had taken over
    await feed.read()
    assert feed.moved() > moved, "all that is kept is forgotten"


async def test_what_somebody_else_wrote_is_not_used(account: Account, client: AsyncClient) -> None:
    stored = await share(account)
    other = await signed_in(client)
    await put(account, await share(other))
    assert await shared(account) is None, "of another account"
    said = json.loads(stored[32:])
    said["principal"]["roles"] = ["admin"]
    for forged in (stored[:32] + json.dumps(said), json.dumps(said), "ü" * 40, stored[:32], "", b"\xff" * 40):
        await put(account, forged)
        assert await shared(account) is None
    await redis.redis_client().delete(await key(account))
    await redis.redis_client().hset(await key(account), "a", "b")
    assert await shared(account) is None
    await put(account, stored)
    assert await shared(account), "the connection goes on being of use"


async def test_what_was_sealed_by_another_secret_or_says_something_else_is_not_used(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = user_cache._seal
    await put(account, sealed("{}") + "{}")
    assert await shared(account) is None
    stored = (await share(account))[32:]
    with monkeypatch.context() as patched:
        patched.setattr(user_cache, "derive_key", lambda purpose: secrets.derive_from(b"another", purpose))
        theirs = sealed(stored)
    await put(account, theirs + stored)
    assert await shared(account) is None


async def test_a_session_does_not_find_another_of_the_same_account(account: Account) -> None:
    await share(account)
    second = Account(account.client, account.email, account.password)
    assert (await second.login()).status_code == 200
    assert await shared(second) is None
    assert await shared(account)


async def test_without_redis_the_database_is_asked(server: StartServer, new_client: NewClient) -> None:
    with Proxy(redis.redis_url()) as way:
        client = new_client((await server(RATE_LIMIT_PROCESSES="2", REDIS_URL=way.url)).url)
        way.blackhole()
        for _ in range(3):
            account = await signed_in(client)
            assert (await account.me()).status_code == 200
        way.refuse()
        account = await signed_in(client)
        assert (await account.me()).status_code == 200
