"""More requests than may wait for their answer."""

import asyncio
from uuid import UUID

import pytest
from httpx2 import AsyncClient, Response
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import select

from app.api import pressure
from app.core import security
from app.core.config import settings
from app.core.db import new_session
from app.models import User
from app.models.user_session import UserSession
from tests.flows import V1, Account, problem, signed_in
from tests.waiting import eventually

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_what_comes_while_too_many_wait_is_refused_and_health_is_not(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await signed_in(client)
    monkeypatch.setattr(pressure, "MOST", 2)  # the figure alone: a thousand requests would take minutes
    sign_ins = [Account(client, account.email).login() for _ in range(4)]
    *answers, health = await asyncio.gather(*sign_ins, client.get(f"{V1}/health"))
    assert [answer.status_code for answer in answers] == [200, 200, 503, 503]
    assert problem(answers[2]) == (503, "overloaded")
    assert answers[2].headers["retry-after"] == "1"
    assert health.status_code == 200
    assert pressure.Turn.waiting == 0
    assert (await account.login()).status_code == 200


async def test_a_sign_in_that_is_refused_for_the_crowd_counts_as_no_guess(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = Account(client)
    assert (await account.register()).status_code == 201
    # The figures alone: the limits are off in this process, and a real crowd would be refused by chance.
    for name, value in {
        "rate_limit_enabled": True,
        "rate_limit_login": "false",
        "rate_limit_account": "3/hour",
    }.items():
        monkeypatch.setitem(settings.__dict__, name, value)
    with monkeypatch.context() as crowded:
        crowded.setattr(security, "MOST_HASHES", 0)
        for _ in range(3):
            assert problem(await account.login()) == (503, "overloaded")

    async def is_let_in() -> bool:
        return (await account.login()).status_code == 200

    await eventually(is_let_in)  # what was counted is given back beside the answer


async def ended_request(account: Account) -> Response | None:
    """The answer to a request that waits for one that waits for it; None where it is not the one that is ended."""
    listed = await account.client.get(f"{V1}/users/me/sessions", headers=account.bearer)
    session_id = UUID(listed.json()["items"][0]["id"])
    async with new_session() as other, new_session(read_only=True) as watching:
        await other.exec(select(UserSession.id).where(UserSession.id == session_id).with_for_update())
        leaving = asyncio.create_task(account.logout())  # it locks the account, then waits for the session

        async def waits() -> bool:
            connection = await watching.connection()
            found = int((await connection.execute(text(WAITING))).scalar_one())
            await watching.rollback()
            return found > 0

        await eventually(waits)
        try:
            await other.exec(select(User.id).where(User.email == account.email).with_for_update())
        except DBAPIError:
            await other.rollback()
            assert (await leaving).status_code == 204
            return None
        answer = await leaving
        await other.rollback()
        return answer


@pytest.mark.stack(name="server")
async def test_of_two_that_wait_for_each_other_the_request_is_to_be_tried_again(client: AsyncClient) -> None:
    """PostgreSQL ends the one that has waited for a second when both wait; on a slow machine that is the other one."""
    while (answer := await ended_request(account := await signed_in(client))) is None:
        pass
    assert problem(answer) == (503, "service_unavailable")
    assert answer.headers["retry-after"].isdigit()
    assert (await account.me()).status_code == 200
    assert (await account.logout()).status_code == 204
