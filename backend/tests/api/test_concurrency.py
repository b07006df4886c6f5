"""Races between registrations, on the engine of this stack."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from httpx2 import AsyncClient, Response
from sqlmodel import col, func, select

from app.core.db import new_session
from app.models import BackgroundTask, User, UserSession
from tests.fixtures import NewClient
from tests.flows import Account, new_email, problem
from tests.stack import Server

AT_ONCE = 50


def in_mixed_case(email: str, number: int) -> str:
    """`email` with the letters in upper case that the bits of `number` say."""
    return "".join(c.upper() if number >> (place % 6) & 1 else c for place, c in enumerate(email))


async def stored() -> tuple[int, int, int]:
    """How many users, sessions and tasks there are."""
    async with new_session(read_only=True) as db:
        users, sessions, tasks = [
            (await db.exec(select(func.count(col(model.id))))).one() for model in (User, UserSession, BackgroundTask)
        ]
    return users, sessions, tasks


async def answered(account: Account) -> Response:
    """What registering comes to. A busy machine may be told to come back: then nothing was stored, and it does."""
    async with asyncio.timeout(60):
        while (answer := await account.register()).status_code == 503:
            assert "retry-after" in answer.headers
    return answer


async def register_all(clients: list[AsyncClient]) -> None:
    """Register one address many times at once; it must become one account with one mail promised."""
    email = new_email()
    before = await stored()
    accounts = [Account(clients[n % len(clients)], in_mixed_case(email, n)) for n in range(AT_ONCE)]
    assert len({account.email for account in accounts}) > AT_ONCE / 2
    answers = await asyncio.gather(*map(answered, accounts))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: AT_ONCE - 1}
    assert {problem(answer) for answer in answers if answer.status_code != 201} == {(409, "email_taken")}
    after = await stored()
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 0, 1]
    assert (await accounts[0].login()).status_code == 200


async def test_fifty_registrations_of_one_address_make_one_account(client: AsyncClient) -> None:
    await register_all([client])


async def test_two_servers_agree_on_who_came_first(
    server: Callable[..., Awaitable[Server]], new_client: NewClient
) -> None:
    await register_all([new_client((await server()).url) for _ in range(2)])
