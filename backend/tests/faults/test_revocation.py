"""Revocation among several processes: no answer is older than a second, whatever happens beside.

The bound is counted from the answer that said so to the moment at which the last request that still passed was sent.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from httpx2 import AsyncClient, HTTPError

from tests.faults.conftest import Start
from tests.faults.proxy import Proxy
from tests.faults.servers import Redis
from tests.faults.stack import Role, Stack, answering, rounds
from tests.flows import Account, signed_in
from tests.services import Services

pytestmark = pytest.mark.timeout(900)
BOUND = 1.0  # seconds
PATIENCE = 30.0  # seconds until the other process has to have said anything at all


@asynccontextmanager
async def two(stack: Stack) -> AsyncIterator[tuple[AsyncClient, AsyncClient]]:
    first, second = stack.addresses
    async with (
        AsyncClient(base_url=first, trust_env=False, timeout=PATIENCE) as one,
        AsyncClient(base_url=second, trust_env=False, timeout=PATIENCE) as other,
    ):
        yield one, other


class Reader:
    """Reads its account from the second process, again and again."""

    def __init__(self, account: Account, client: AsyncClient) -> None:
        self.seen = Account(client, account.email, account.password, account.pair)
        self.passed_at = 0.0
        self.refused = asyncio.Event()
        self.statuses: list[int] = []

    async def read(self) -> None:
        clock = asyncio.get_running_loop().time
        while not self.refused.is_set():
            sent = clock()
            try:
                status = (await self.seen.me()).status_code
            except HTTPError:
                status = 0
            if status == 200:
                self.passed_at = sent
            self.statuses.append(status)
            if status == 401:
                self.refused.set()
            await asyncio.sleep(0)  # a turn of the loop for what runs beside


async def delay(one: AsyncClient, other: AsyncClient, beside: Callable[[], Awaitable[None]]) -> float:
    """Sign in at one process, log out there while the other one is being asked; how long that one let it pass."""
    account = await signed_in(one)
    reader = Reader(account, other)
    reading = asyncio.create_task(reader.read())
    try:
        while len(reader.statuses) < 50:
            await asyncio.sleep(0.001)  # until it is kept there
        assert set(reader.statuses) == {200}
        await beside()
        assert (await account.logout()).status_code == 204
        ended = asyncio.get_running_loop().time()
        async with asyncio.timeout(PATIENCE):
            await reader.refused.wait()
    finally:
        reader.refused.set()
        await reading
    return reader.passed_at - ended


async def nothing() -> None:
    pass


@pytest.mark.parametrize("happens", ["nothing", "dies", "hangs"])
async def test_no_process_lets_an_ended_session_pass_for_more_than_a_second(
    start: Start, redis: Redis, happens: str
) -> None:
    roles = {"one": Role("serve"), "other": Role("serve")}
    stack = await start(roles, REDIS_URL=redis.url, REDIS_PREFIX="revocation:", RATE_LIMIT_GENERAL="100000000/minute")
    if happens == "dies":
        redis.kill()
    elif happens == "hangs":
        redis.pause()
    async with two(stack) as (one, other):
        delays = [await delay(one, other, nothing) for _ in range(rounds(30, 3))]
    if happens == "hangs":
        redis.resume()
    print(f"Redis: {happens}; the longest of {len(delays)}: {max(delays):.3f} s")
    assert max(delays) < BOUND


async def test_a_process_that_stood_still_lets_nothing_old_pass(start: Start) -> None:
    """It was stopped before the session ended, and goes on long after."""
    stack = await start({"one": Role("serve"), "other": Role("serve")}, RATE_LIMIT_GENERAL="100000000/minute")
    process = stack.process("other")
    async with two(stack) as (one, other):
        for _ in range(rounds(5, 1)):
            account = await signed_in(one)
            seen = Account(other, account.email, account.password, account.pair)
            for _ in range(5):
                assert (await seen.me()).status_code == 200
            process.send_signal(signal.SIGSTOP)
            waiting = asyncio.create_task(seen.me())
            assert (await account.logout()).status_code == 204
            await asyncio.sleep(BOUND)  # what it knows grows old: there is nothing to wait for but time
            process.send_signal(signal.SIGCONT)
            assert (await waiting).status_code == 401
            assert (await seen.me()).status_code == 401


@pytest.mark.stack("server")
async def test_a_process_that_cannot_read_the_feed_lets_nothing_old_pass(start: Start, services: Services) -> None:
    from tests.databases import own_database

    url = own_database(services, "revocation")
    with Proxy(url) as way:
        roles = {"one": Role("serve", {"DATABASE_URL": url}), "other": Role("serve", {"DATABASE_URL": way.url})}
        stack = await start(roles, DATABASE_URL=url, RATE_LIMIT_GENERAL="100000000/minute")
        async with two(stack) as (one, other):
            for _ in range(rounds(5, 1)):

                async def blackhole() -> None:
                    way.blackhole()

                waiting = asyncio.create_task(delay(one, other, blackhole))
                await asyncio.sleep(BOUND * 2)  # the database is away for as long as that
                way.restore()
                assert await waiting < BOUND
                await answering(stack.addresses[1])
