"""Requests that wait together are answered by one statement, and each by what is committed when it asks."""

import asyncio

from httpx2 import AsyncClient

from tests.counting import statements
from tests.flows import signed_in


async def test_thirty_requests_at_once_are_answered_by_a_few_statements(client: AsyncClient) -> None:
    accounts = [await signed_in(client) for _ in range(3)]
    with statements() as asked:
        answers = await asyncio.gather(*(account.me() for account in accounts * 10))
    assert [answer.json()["email"] for answer in answers] == [account.email for account in accounts] * 10
    assert 1 <= len([statement for statement in asked if "user_sessions" in statement]) <= 10


async def test_a_request_that_comes_after_a_logout_is_refused_among_many_others(client: AsyncClient) -> None:
    staying, leaving = await signed_in(client), await signed_in(client)
    done = asyncio.Event()

    async def keep_reading() -> None:
        while not done.is_set():
            assert (await staying.me()).status_code == 200
            await asyncio.sleep(0)  # a turn of the loop, which a socket would give

    async with asyncio.TaskGroup() as together:
        for _ in range(5):
            together.create_task(keep_reading())
        for _ in range(20):
            assert (await leaving.me()).status_code == 200
            assert (await leaving.logout()).status_code == 204
            assert (await leaving.me()).status_code == 401
            assert (await leaving.login()).status_code == 200
        done.set()


async def test_one_that_hangs_up_takes_the_answer_from_no_other(client: AsyncClient) -> None:
    account = await signed_in(client)
    leaving, staying = asyncio.create_task(account.me()), asyncio.create_task(account.me())
    await asyncio.sleep(0)  # a turn of the loop, in which both ask
    leaving.cancel()
    assert (await staying).status_code == 200
