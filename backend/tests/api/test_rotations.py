"""The short way of refreshing answers as the usual one does, many in two statements, and waits for nobody's row."""

import asyncio
import json
import os
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from httpx2 import AsyncClient, Response
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.api import shortcut
from app.core import direct
from app.core.config import settings
from app.core.db import _relaxed, engine, new_session
from app.services import principal_cache, tokens
from tests.counting import statements
from tests.flows import Account, problem, signed_in
from tests.short_ways import USUALLY, comparable, recorded_once
from tests.waiting import eventually

pytestmark = pytest.mark.stack(name="server")  # there is no short way on SQLite


def session_of(account: Account) -> UUID:
    read = tokens.parse_refresh_token(account.pair["refresh_token"])
    assert read is not None
    return read.session_id


async def refreshed(account: Account, **more: Any) -> Response:
    """Refresh, and go on with the new pair."""
    body = json.dumps({"refresh_token": account.pair["refresh_token"]})
    sent = {"content": body, "headers": {"Content-Type": "application/json"}, **more}
    answer = await account.client.post(shortcut.REFRESH, **sent)
    if answer.is_success:
        account.pair = answer.json()
    return answer


async def test_the_short_way_answers_what_the_usual_one_does(client: AsyncClient) -> None:
    account = await signed_in(client)
    with statements() as asked:
        short = await refreshed(account)
    assert len(asked) == 2
    assert (await account.me()).status_code == 200
    usual = await refreshed(account, **USUALLY)
    assert (await account.me()).status_code == 200
    assert comparable(short) == comparable(usual)


@pytest.mark.parametrize("way", ["short", "usual"])
async def test_either_way_is_counted_and_logged_alike(client: AsyncClient, way: str) -> None:
    account = await signed_in(client)
    with recorded_once("POST", shortcut.REFRESH):
        await refreshed(account, **(USUALLY if way == "usual" else {}))


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"Content-Type": "application/json; charset=utf-8"}, '{"refresh_token":"%s"}', 200),
        ({}, '{ "refresh_token" : "%s" }', 200),
        ({}, '{"refresh_token":"\\u006efr_%s"}', 200),
        ({"Cookie": "a=b"}, '{"refresh_token":"%s"}', 200),
        ({"Content-Type": "text/plain"}, '{"refresh_token":"%s"}', 415),
        ({"Content-Encoding": "gzip"}, '{"refresh_token":"%s"}', 415),
        ({}, '{"refresh_token":"%s","more":1}', 422),
        ({}, '{"refresh_token":"%s","refresh_token":"%s"}', 422),
        ({}, '{"refresh_token":"%sx"}', 401),
        ({}, "", 401),
    ],
    ids=str,
)
async def test_what_is_unusual_goes_the_usual_way(
    client: AsyncClient, headers: dict[str, str], body: str, expected: int
) -> None:
    account = await signed_in(client)
    token = account.pair["refresh_token"]
    given = token.removeprefix("nfr_") if "\\u006e" in body else token
    sent = {"Content-Type": "application/json", **headers}
    answer = await client.post(shortcut.REFRESH, headers=sent, content=body.replace("%s", given))
    assert answer.status_code == expected, answer.text


async def test_a_body_in_pieces_is_read_as_a_whole(client: AsyncClient) -> None:
    account = await signed_in(client)

    async def pieces(size: int) -> Any:
        whole = json.dumps({"refresh_token": account.pair["refresh_token"]}).encode()
        for start in range(0, len(whole), size):
            yield whole[start : start + size]

    for size in (40, 3):  # few pieces, and more than the short way waits for
        headers = {"Content-Type": "application/json"}
        answer = await client.post(shortcut.REFRESH, headers=headers, content=pieces(size))
        assert answer.status_code == 200, answer.text
        account.pair = answer.json()


async def test_many_that_wait_together_are_turned_by_a_few_statements(client: AsyncClient) -> None:
    accounts = [await signed_in(client) for _ in range(3)]
    sessions = [account for account in accounts for _ in range(4)]
    for number, account in enumerate(sessions):
        sessions[number] = Account(client, account.email)
        assert (await sessions[number].login()).status_code == 200
    with statements() as asked:
        answers = await asyncio.gather(*(refreshed(one) for one in sessions))
    assert [answer.status_code for answer in answers] == [200] * len(sessions)
    assert 2 <= len([one for one in asked if "UPDATE user_sessions" in one]) * 2 <= len(sessions)
    for one in sessions:
        assert (await one.me()).json()["email"] == one.email
        assert (await refreshed(one)).status_code == 200


async def test_of_many_that_bring_one_token_each_gets_the_same_successor(client: AsyncClient) -> None:
    account = await signed_in(client)
    answers = await asyncio.gather(*(account.refresh() for _ in range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


async def test_a_forged_token_among_others_turns_nothing(client: AsyncClient) -> None:
    account, other = await signed_in(client), await signed_in(client)
    read = tokens.parse_refresh_token(account.pair["refresh_token"])
    assert read is not None
    forged = tokens.REFRESH_PREFIX + tokens._encode(tokens._REFRESH.pack(read.session_id.bytes, 1, bytes(32)))
    refused, answered = await asyncio.gather(account.refresh(forged), refreshed(other))
    assert problem(refused) == (401, "invalid_refresh_token")
    assert answered.status_code == 200
    with statements() as asked:
        assert (await refreshed(account)).status_code == 200
    assert len(asked) == 2, "its first token is the current one still"


async def test_nobody_waits_for_a_session_that_somebody_else_holds(client: AsyncClient) -> None:
    held, free = await signed_in(client), await signed_in(client)
    async with new_session() as holder:
        lock = text("SELECT 1 FROM user_sessions WHERE id = :id FOR UPDATE")
        await holder.exec(lock, params={"id": session_of(held)})  # type: ignore[call-overload]  # plain SQL
        waiting = asyncio.create_task(refreshed(held))
        for _ in range(3):
            async with asyncio.timeout(2):
                assert (await refreshed(free)).status_code == 200
        assert not waiting.done()
        await holder.rollback()
    assert (await waiting).status_code == 200


async def test_a_connection_that_broke_is_not_kept(client: AsyncClient) -> None:
    account = await signed_in(client)
    async with direct.connected() as connection:
        connection.terminate()
    assert (await refreshed(account)).status_code == 200


async def every_connection_answers() -> bool:
    """Take all that the pools have at once; one that broke is not put back."""
    try:
        async with AsyncExitStack() as taken:
            for pool in (engine(), _relaxed(os.getpid())[0]):
                for _ in range(pool.pool.size()):  # type: ignore[attr-defined]  # of the class of ours
                    connection = await taken.enter_async_context(pool.connect())
                    await connection.exec_driver_sql("SELECT 1")
    except DBAPIError:
        return False
    return True


async def test_connections_that_are_killed_on_and_on_are_no_fault_of_ours(client: AsyncClient) -> None:
    """At any moment of a statement, also while the driver still reads that its connection ends."""
    accounts = [await signed_in(client) for _ in range(4)]
    seen, answered = set[int](), asyncio.Event()

    async def ask(account: Account) -> None:
        for _ in range(30):
            principal_cache._forget_all(None)
            answers = await asyncio.gather(account.me(), refreshed(account))
            seen.update(answer.status_code for answer in answers)

    async def kill() -> None:
        killer = await asyncpg.connect(settings.database_url)
        while not answered.is_set():
            await killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await asyncio.sleep(0.01)  # so that some are answered
        await killer.close()

    async def is_served() -> bool:
        return (await accounts[0].me()).status_code == 200

    killing = asyncio.create_task(kill())
    await asyncio.gather(*map(ask, accounts))
    answered.set()
    await killing
    assert 200 in seen
    assert seen <= {200, 401, 503}
    await eventually(is_served)
    await eventually(every_connection_answers)  # what was left in the pool was killed too
