"""Revocation among several processes: no answer is older than a second, whatever happens beside.

The bound is counted from the answer that said so to the moment at which the last request that still passed was sent.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from httpx2 import AsyncClient, HTTPError
from redis.asyncio import Redis as RedisClient

from tests.databases import own_database
from tests.faults.conftest import Start
from tests.faults.proxy import Proxy
from tests.faults.servers import Redis
from tests.faults.stack import Role, Stack, rounds
from tests.flows import V1, Account, signed_in
from tests.services import Services
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(900)
ME = f"{V1}/users/me"
BOUND = 1.0  # seconds
PATIENCE = 30.0  # seconds until a process has to have said anything at all
BOTH = {"one": Role("serve"), "other": Role("serve")}
UNLIMITED = {
    "RATE_LIMIT_GENERAL": "100000000/minute",
    "RATE_LIMIT_PROCESSES": "2",  # so that they share by Redis what they read
}


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
        self._account, self._seen = account, Account(client, account.email, account.password, account.pair)
        self._passed_at = self._ended_at = 0.0
        self._over = asyncio.Event()
        self.statuses: list[int] = []

    async def read(self) -> None:
        clock = asyncio.get_running_loop().time
        while not self._over.is_set():
            sent = clock()
            try:
                status = (await self._seen.me()).status_code
            except HTTPError:
                status = 0
            if status == 200:
                self._passed_at = sent
            self.statuses.append(status)
            await asyncio.sleep(0)  # a turn of the loop for what runs beside

    async def is_kept(self) -> None:
        await eventually(lambda: len(self.statuses) >= 50)
        assert set(self.statuses) == {200}

    async def sign_out(self) -> None:
        """At the first process."""
        assert (await self._account.logout()).status_code == 204
        self._ended_at = asyncio.get_running_loop().time()

    async def is_refused(self) -> float:
        """Wait until the second process says that the session has ended; for how long it had let it pass."""
        await eventually(lambda: self.statuses[-1] == 401)
        return self._passed_at - self._ended_at

    async def is_not_served(self) -> None:
        await eventually(lambda: self.statuses[-1] != 200, within=15)  # an answer in time, whatever it is

    def stop(self) -> None:
        self._over.set()


@asynccontextmanager
async def reading(one: AsyncClient, other: AsyncClient) -> AsyncIterator[Reader]:
    """Somebody who has signed in at one process, and is known to the other by now."""
    reader = Reader(await signed_in(one), other)
    task = asyncio.create_task(reader.read())
    try:
        await reader.is_kept()
        yield reader
    finally:
        reader.stop()
        await task


@pytest.fixture
def way(redis: Redis) -> Iterator[Proxy]:
    with Proxy(redis.url) as proxy:
        yield proxy


@pytest.mark.parametrize("happens", ["nothing", "dies", "hangs", "is cut off"])
async def test_no_process_lets_an_ended_session_pass_for_more_than_a_second(
    start: Start, redis: Redis, way: Proxy, happens: str
) -> None:
    stack = await start(BOTH, REDIS_URL=way.url, REDIS_PREFIX="revocation:", **UNLIMITED)
    if happens == "dies":
        redis.kill()
    elif happens == "hangs":
        redis.pause()
    elif happens == "is cut off":
        way.blackhole()
    delays = []
    async with two(stack) as (one, other):
        for _ in range(rounds(30, 3)):
            async with reading(one, other) as reader:
                await reader.sign_out()
                delays.append(await reader.is_refused())
    if happens == "hangs":
        redis.resume()
    print(f"Redis: {happens}; the longest of {len(delays)}: {max(delays):.3f} s")
    assert max(delays) < BOUND


@pytest.mark.stack(name="server")  # else nothing is shared
async def test_a_process_that_dies_before_it_drops_what_is_shared_leaves_nothing_old(
    start: Start, redis: Redis, way: Proxy
) -> None:
    """It has committed and answered; what Redis says of the account is from before."""
    roles = {"one": Role("serve", {"REDIS_URL": way.url}), "other": Role("serve")}
    stack = await start(roles, REDIS_URL=redis.url, REDIS_PREFIX="revocation:", **UNLIMITED)
    clock = asyncio.get_running_loop().time
    async with two(stack) as (one, other), RedisClient.from_url(redis.url) as client:
        for _ in range(rounds(5, 1)):
            ended, renamed = [await signed_in(one) for _ in range(2)]
            shared = [await shared_copy(client, account) for account in (ended, renamed)]
            way.blackhole()
            answer = await renamed.client.put(ME, headers=renamed.bearer, json={"full_name": "Ada"})
            assert answer.status_code == 200
            assert (await ended.logout()).status_code == 204
            answered = clock()
            stack.process("one").kill()
            assert [await client.exists(key) for key in shared] == [1, 1], "nothing has dropped it"

            async def is_seen(ended: Account = ended, renamed: Account = renamed) -> bool:
                name = (await seen_by(other, renamed).me()).json()["full_name"]
                return name == "Ada" and (await seen_by(other, ended).me()).status_code == 401

            await eventually(is_seen)
            assert clock() - answered < BOUND
            way.restore()
            stack.kill("one")
            await stack.ready()


def seen_by(client: AsyncClient, account: Account) -> Account:
    return Account(client, account.email, account.password, account.pair)


async def shared_copy(client: RedisClient, account: Account) -> str:
    """The key of what Redis says of the account, once its process has put it there."""
    user_id = (await account.me()).json()["id"]
    key = f"revocation:user:{user_id}"

    async def is_there() -> bool:
        return bool(await client.exists(key))

    await eventually(is_there)
    return key


async def test_a_process_that_stood_still_lets_nothing_old_pass(start: Start) -> None:
    """It was stopped before the session ended, and goes on when what it knows is too old."""
    stack = await start(BOTH, **UNLIMITED)
    clock = asyncio.get_running_loop().time
    async with two(stack) as (one, other):
        for _ in range(rounds(5, 1)):
            account = await signed_in(one)
            seen = Account(other, account.email, account.password, account.pair)
            for _ in range(5):
                assert (await seen.me()).status_code == 200
            stack.process("other").send_signal(signal.SIGSTOP)
            waiting = asyncio.create_task(seen.me())
            assert (await account.logout()).status_code == 204
            old = clock() + BOUND
            await eventually(lambda old=old: clock() > old)
            stack.process("other").send_signal(signal.SIGCONT)
            assert (await waiting).status_code == 401
            assert (await seen.me()).status_code == 401


@pytest.mark.stack(name="server")  # a proxy stands before a server
async def test_a_process_that_cannot_read_the_feed_lets_nothing_old_pass(start: Start, services: Services) -> None:
    url = own_database(services, "revocation")
    with Proxy(url) as way:
        roles = {"one": Role("serve", {"DATABASE_URL": url}), "other": Role("serve", {"DATABASE_URL": way.url})}
        stack = await start(roles, DATABASE_URL=url, **UNLIMITED)
        async with two(stack) as (one, other):
            for _ in range(rounds(5, 1)):
                async with reading(one, other) as reader:
                    way.blackhole()
                    await reader.sign_out()
                    await reader.is_not_served()
                    way.restore()
                    assert await reader.is_refused() < BOUND
