"""Who is behind a token is kept in the process: asked of nobody, less than a second old, gone with what ends it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient, Response
from sqlmodel import col, update

from app.api import shortcut
from app.core import security
from app.core.db import new_session
from app.crud import change
from app.crud import principal as rows
from app.models import User
from app.services import feed, principal_cache, sessions, user_cache
from tests.counting import statements
from tests.fixtures import Clock
from tests.flows import V1, Account, signed_in
from tests.short_ways import USUALLY, recorded_once
from tests.staff import id_of
from tests.waiting import eventually

OF_THIS_ANSWER = frozenset({"x-request-id", "ratelimit", "date"})


async def warm(account: Account) -> None:
    """Have the account be kept."""

    async def is_kept() -> bool:
        assert (await account.me()).status_code == 200
        return kept(account) is not None

    await eventually(is_kept)


def kept(account: Account) -> principal_cache.Known | None:
    return principal_cache.find(account.pair["access_token"].encode())


def comparable(answer: Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    headers = sorted((name, value) for name, value in answer.headers.items() if name not in OF_THIS_ANSWER)
    return answer.status_code, answer.content, headers


async def test_the_short_way_answers_what_the_usual_one_does(client: AsyncClient) -> None:
    account = await signed_in(client)
    await client.put(f"{V1}/users/me", headers=account.bearer, json={"full_name": 'Ada "Ünïcode" \u2028 Lovelace'})
    await warm(account)
    for more in ({}, {"Origin": "http://localhost:3000"}, {"X-Request-ID": "mine"}, {"Accept": "text/html"}):
        sent = {**account.bearer, **more}
        usual = await client.get(f"{V1}/users/me", headers=sent, **USUALLY)
        with statements() as asked:
            short = await client.get(f"{V1}/users/me", headers=sent)
        assert asked == []
        assert comparable(short) == comparable(usual)
        assert usual.status_code == 200


async def test_a_token_that_is_not_kept_is_answered_alike_either_way(client: AsyncClient, clock: Clock) -> None:
    live, ended, disabled = [await signed_in(client) for _ in range(3)]
    assert (await ended.logout()).status_code == 204
    async with new_session() as db:
        await db.exec(update(User).where(col(User.email) == disabled.email).values(is_active=False))
        await db.commit()
    head, claims, signature = live.pair["access_token"].split(".")
    forged = f"{head}.{claims}.{signature[::-1]}"
    sent = {"live": live.bearer, "ended": ended.bearer, "disabled": disabled.bearer}
    sent["forged"] = {"Authorization": f"Bearer {forged}"}

    async def answers(name: str, **more: Any) -> tuple[int, bytes, list[tuple[str, str]]]:
        principal_cache._forget_all(None)
        return comparable(await client.get(f"{V1}/users/me", headers={**sent[name], "X-Request-ID": "one"}, **more))

    short = {name: await answers(name) for name in sent}
    assert short == {name: await answers(name, **USUALLY) for name in sent}
    assert [status for status, *_ in short.values()] == [200, 401, 401, 401]
    clock.advance(security.ACCESS_TOKEN_LIFE)
    expired = await answers("live")
    assert expired == await answers("live", **USUALLY)
    assert expired[0] == 401


@pytest.mark.parametrize("way", ["short", "usual"])
async def test_either_way_is_counted_and_logged_alike(client: AsyncClient, way: str) -> None:
    account = await signed_in(client)
    await warm(account)
    with recorded_once("GET", shortcut.PATH):
        await client.get(f"{V1}/users/me", headers=account.bearer, **(USUALLY if way == "usual" else {}))


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("HEAD", {}, 405),
        ("POST", {}, 405),
        ("GET", {"Authorization": "Basic abc"}, 401),
        ("GET", {"Authorization": "Bearer"}, 401),
        ("GET", {"Authorization": "Bearer nothing"}, 401),
        ("GET", {"Host": "evil.example"}, 400),
        ("GET", {"Content-Length": "0"}, 200),
        ("GET", {"Authorization": "bearer {token}"}, 200),
        ("GET", {"Authorization": "Bearer {token} "}, 200),
    ],
    ids=str,
)
async def test_what_is_unusual_goes_the_usual_way(
    client: AsyncClient, method: str, headers: dict[str, str], status: int
) -> None:
    account = await signed_in(client)
    await warm(account)
    sent = {name: value.format(token=account.pair["access_token"]) for name, value in headers.items()}
    answers = [
        await client.request(method, f"{V1}/users/me", headers={**account.bearer, **sent}, **more)
        for more in ({}, USUALLY)
    ]
    assert [answer.status_code for answer in answers] == [status, status]


async def test_every_route_of_a_kept_caller_knows_them_without_asking(client: AsyncClient) -> None:
    account = await signed_in(client)
    await warm(account)
    with statements() as asked:
        assert (await client.get(f"{V1}/tasks", headers=account.bearer)).status_code == 200
    assert not [statement for statement in asked if "user_sessions" in statement]


# --- what ends it ---------------------------------------------------------------------------------------------------


async def test_what_a_process_changes_itself_it_applies_first(client: AsyncClient) -> None:
    account = await signed_in(client)
    for name in ("Ada", "Grace", "Barbara"):
        await warm(account)
        await client.put(f"{V1}/users/me", headers=account.bearer, json={"full_name": name})
        assert (await account.me()).json()["full_name"] == name
    await warm(account)
    assert (await account.logout()).status_code == 204
    assert (await account.me()).status_code == 401


async def test_what_another_process_changes_is_seen(client: AsyncClient) -> None:
    """Through the services, whose commit is not this application's."""
    for end in ("session", "profile"):
        account = await signed_in(client)
        await warm(account)
        found = kept(account)
        assert found is not None
        async with new_session() as db:
            if end == "session":
                assert await sessions.end(db, found.principal.id, found.principal.session_id, reason="test")
            else:
                await user_cache.changed(db, found.principal.id)
            await db.commit()

        def is_gone(account: Account = account) -> bool:
            return kept(account) is None

        await eventually(is_gone)
        assert (await account.me()).status_code == (401 if end == "session" else 200)


async def test_nothing_is_served_from_memory_when_the_feed_stands_still(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await signed_in(client)
    await warm(account)
    now = feed.time.monotonic

    class Later:
        """A second after the last read began, and nothing has been read since."""

        @staticmethod
        def monotonic() -> float:
            return now() + feed.BOUND

    with monkeypatch.context() as patched:
        patched.setattr(feed, "time", Later)  # its clock alone: a feed that cannot be read is in tests/faults
        assert kept(account) is None
        with statements() as asked:
            assert (await account.me()).status_code == 200
        assert asked


async def test_after_a_pause_everything_is_forgotten(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the feed said meanwhile may have been purged."""
    account = await signed_in(client)
    await warm(account)
    monkeypatch.setattr(feed._reading, "began", feed.NEVER)  # the pause alone: a real one is in tests/faults
    await feed.read()
    assert feed.is_fresh()
    assert kept(account) is None


async def test_an_entry_dies_with_its_token(client: AsyncClient, clock: Clock) -> None:
    account = await signed_in(client)
    await warm(account)
    clock.advance(security.ACCESS_TOKEN_LIFE)
    assert kept(account) is None
    assert (await account.me()).status_code == 401


async def test_what_was_read_before_a_change_was_heard_of_is_not_kept(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await signed_in(client)
    user_id, load = await id_of(account), rows.load

    # The order of the two is what is tested, and from outside it comes by chance alone. What is asked is real.
    async def load_slowly(session_ids: Sequence[UUID]) -> Any:
        found = await load(session_ids)
        feed.apply([(change.USER, str(user_id))])  # the feed is read before the answer of the statement is
        return found

    principal_cache._forget_all(None)
    monkeypatch.setattr(rows, "load", load_slowly)
    assert (await account.me()).status_code == 200
    assert kept(account) is None


async def test_no_more_than_so_many_are_kept(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    principal_cache._forget_all(None)
    monkeypatch.setattr(principal_cache, "MOST", 2)  # the figure alone: 10,000 sign-ins would take minutes
    accounts = [await signed_in(client) for _ in range(3)]
    for account in (accounts[0], accounts[1], accounts[0], accounts[2]):
        assert (await account.me()).status_code == 200
    await eventually(feed.is_fresh)
    assert [kept(account) is not None for account in accounts] == [True, False, True]
    assert len(principal_cache._of) == 4, "an account and a session each"
