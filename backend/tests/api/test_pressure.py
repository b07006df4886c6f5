"""More requests than may wait for their answer."""

import asyncio

import pytest
from httpx2 import AsyncClient

from app.api import pressure
from tests.flows import V1, Account, problem, signed_in


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
