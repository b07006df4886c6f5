"""What the limits do while Redis is away or slow: never open at the door, and never a brake."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
from httpx2 import AsyncClient

from app.core.config import settings
from tests.faults.proxy import Proxy
from tests.flows import V1, new_email, problem
from tests.limited import limited
from tests.waiting import eventually

pytestmark = pytest.mark.any_database

NO_GRANT = {"grant_type": "none"}  # counted as any try to sign in, and costs no hash


@pytest.fixture
def way() -> Iterator[Proxy]:
    with Proxy(settings.redis_url) as proxy:
        yield proxy


async def knock(client: AsyncClient, address: str) -> int:
    answer = await client.post(f"{V1}/auth/token", data=NO_GRANT, headers={"X-Forwarded-For": address})
    return answer.status_code


async def knocks(client: AsyncClient, address: str, times: int) -> Counter[int]:
    return Counter([await knock(client, address) for _ in range(times)])


async def test_without_redis_each_process_passes_its_share_and_no_more(server, new_client, way: Proxy) -> None:
    env = limited(REDIS_URL=way.url, RATE_LIMIT_PROCESSES="2")
    first, second = [new_client((await server(**env)).url) for _ in range(2)]
    assert await knocks(first, "203.0.113.1", 6) + await knocks(second, "203.0.113.1", 6) == {400: 10, 429: 2}
    way.refuse()
    assert await knocks(first, "203.0.113.1", 3) == {429: 3}  # what Redis let pass is not had a second time
    assert await knocks(first, "203.0.113.2", 8) == {400: 5, 429: 3}
    assert await knocks(second, "203.0.113.2", 8) == {400: 5, 429: 3}


async def test_without_redis_guesses_at_one_account_are_counted_too(server, new_client, way: Proxy) -> None:
    client = new_client((await server(**limited(REDIS_URL=way.url, RATE_LIMIT_ACCOUNT="3/hour"))).url)
    way.refuse()
    body = {"email": new_email(), "password": "wrong-otter-43-candle"}
    answers = [
        await client.post(f"{V1}/auth/login", json=body, headers={"X-Forwarded-For": f"203.0.113.{n}"})
        for n in range(6)
    ]
    assert [problem(one)[1] for one in answers] == ["invalid_credentials"] * 3 + ["rate_limited"] * 3


async def test_everything_else_is_let_through_to_its_share(server, new_client, way: Proxy) -> None:
    running = await server(**limited(REDIS_URL=way.url, RATE_LIMIT_GENERAL="100/minute", RATE_LIMIT_PROCESSES="4"))
    client = new_client(running.url)
    way.refuse()
    read = partial(client.get, f"{V1}/config", headers={"X-Forwarded-For": "203.0.113.3"})
    assert (await read()).status_code == 200
    await eventually(lambda: "limits_cut_off" in running.output())
    assert Counter([(await read()).status_code for _ in range(39)]) == {200: 24, 429: 15}


async def test_it_is_exact_again_when_redis_is_back(server, new_client, way: Proxy) -> None:
    env = limited(REDIS_URL=way.url, RATE_LIMIT_PROCESSES="2")
    servers = [await server(**env) for _ in range(2)]
    clients = [new_client(one.url) for one in servers]
    way.refuse()
    for client in clients:
        await knock(client, "203.0.113.4")
    way.restore()
    await eventually(lambda: all("redis_answers" in one.output() for one in servers))
    assert sum([await knocks(one, "203.0.113.5", 8) for one in clients], Counter()) == {400: 10, 429: 6}


async def test_a_slow_redis_adds_less_than_a_quarter_of_a_second(server, new_client, way: Proxy) -> None:
    client = new_client((await server(**limited(REDIS_URL=way.url))).url)

    async def p99(network: str) -> float:
        spent = []
        for number in range(200):
            began = time.perf_counter()
            assert await knock(client, f"{network}.{number}") == 400
            spent.append(time.perf_counter() - began)
        return sorted(spent)[197]

    usual = await p99("198.51.100")
    way.delay(2)
    assert await p99("203.0.113") - usual < 0.25


async def test_a_slow_redis_does_not_hold_up_a_crowd(server, new_client, way: Proxy) -> None:
    client = new_client((await server(**limited(REDIS_URL=way.url))).url)

    async def crowd(network: str) -> float:
        began = time.perf_counter()
        for street in range(8):
            everybody = (knock(client, f"{network}.{street}.{house}") for house in range(50))
            assert set(await asyncio.gather(*everybody)) == {400}
        return time.perf_counter() - began

    usual = await crowd("100.64")
    way.delay(2)
    assert await crowd("100.65") - usual < 5  # four at a time, each finding out for itself, would take 15 s more
