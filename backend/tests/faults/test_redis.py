"""Redis that dies, hangs, forgets, swallows, repeats and is full, under load: no promise is lost, none is kept twice.

Nothing is started again but Redis itself: the product has to find its way back alone.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from httpx2 import AsyncClient
from redis.asyncio import Redis as Client
from redis.exceptions import RedisError

from app.core.config import settings
from tests.faults.conftest import Start
from tests.faults.load import load
from tests.faults.mail_server import HOLD, Moody
from tests.faults.recorder import Recorder, settled
from tests.faults.servers import Redis
from tests.faults.stack import SHORT, Role, rounds
from tests.flows import Account
from tests.inbox import Inbox
from tests.processes import free_port
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(900)
PREFIX = "faults:"


class Carrier:
    """Stands between the relay and the workers, and carries each message as many times as it is told."""

    def __init__(self, redis: Redis) -> None:
        self.times, self.carried = 1, 0
        self._relay, self._workers = Client.from_url(redis.database(1)), Client.from_url(redis.database(0))

    async def carry(self) -> None:
        queues = [PREFIX + queue for queue in settings.task_queues]
        while True:
            try:
                message = await self._relay.brpop(queues, timeout=1)
                for _ in range(self.times if message else 0):
                    await self._workers.lpush(*message)
            except RedisError:  # it is away or full: what was being carried is lost
                await asyncio.sleep(0.05)  # the pause of a client that tries again, as long as the test lets it
            else:
                self.carried += bool(message)

    async def more(self, messages: int) -> None:
        wanted = self.carried + messages
        await eventually(lambda: self.carried >= wanted, within=60)

    async def close(self) -> None:
        for client in (self._relay, self._workers):
            await client.aclose()


@asynccontextmanager
async def carrying(redis: Redis) -> AsyncIterator[Carrier]:
    carrier = Carrier(redis)
    task = asyncio.create_task(carrier.carry())
    try:
        yield carrier
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await carrier.close()


class Bad:
    """A Redis under load, and what happens to it."""

    def __init__(self, redis: Redis, client: Client, carrier: Carrier, recorder: Recorder) -> None:
        self.redis, self.client, self.carrier, self.recorder = redis, client, carrier, recorder

    async def dies(self) -> None:
        for _ in range(rounds(8, 2)):
            await self.recorder.answered(5)
            self.redis.kill()
            await self.recorder.answered(5)
            await self.redis.start()

    async def hangs(self) -> None:
        for _ in range(rounds(3, 1)):
            await self.recorder.answered(5)
            self.redis.pause()
            await self.recorder.answered(rounds(200, 10))
            self.redis.resume()

    async def forgets(self) -> None:
        for _ in range(rounds(50, 5)):
            await self.recorder.answered(2)
            await self.client.flushall()

    async def swallows(self) -> None:
        self.carrier.times = 0
        await self.carrier.more(rounds(100, 10))
        self.carrier.times = 1

    async def repeats(self) -> None:
        self.carrier.times = 3
        await self.carrier.more(rounds(200, 10))
        self.carrier.times = 1

    async def is_full(self) -> None:
        for _ in range(rounds(5, 1)):
            await self.recorder.answered(5)
            await self.client.config_set("maxmemory", "1")
            await self.recorder.answered(rounds(50, 10))
            await self.client.config_set("maxmemory", "0")


WAYS = (Bad.repeats, Bad.hangs, Bad.forgets, Bad.is_full, Bad.swallows, Bad.dies)


@pytest.mark.parametrize("ways", [WAYS] if SHORT else [(way,) for way in WAYS], ids=lambda ways: ways[0].__name__)
async def test_no_promise_is_lost_or_kept_twice_whatever_redis_does(
    start: Start, redis: Redis, recorder: Recorder, smtp: Inbox, ways: tuple[Callable[[Bad], Awaitable[None]], ...]
) -> None:
    async with carrying(redis) as carrier, Client.from_url(redis.url) as client:
        # The relay rings in one database and the workers listen in another, with the carrier between them.
        relay = Role("scheduler", {"BROKER_URL": redis.database(1)})
        roles = {"api": Role("serve"), "worker": Role("worker"), "scheduler": relay}
        stack = await start(roles, REDIS_URL=redis.url, REDIS_PREFIX=PREFIX)
        async with load(stack.addresses[0], recorder):
            for way in ways:
                await way(Bad(redis, client, carrier, recorder))
            await recorder.answered(5)
        print(f"{ways[-1].__name__}: {await settled(recorder, stack, smtp, mails=1)}")


async def registered(account: Account) -> None:
    assert (await account.register()).status_code == 201


@pytest.mark.stack(name="server")  # whatever the database
async def test_a_worker_whose_redis_dies_while_its_tasks_run_goes_on(
    start: Start, redis: Redis, tmp_path: Path
) -> None:
    """Celery may end then, as if it had been told to: its keeper starts it again."""
    inbox = Inbox(tmp_path, port := free_port(), Moody)
    moody = inbox.catcher
    assert isinstance(moody, Moody)
    stack = await start(REDIS_URL=redis.url, REDIS_PREFIX=PREFIX, SMTP_URL=f"smtp://127.0.0.1:{port}")
    async with AsyncClient(base_url=stack.addresses[0], trust_env=False, timeout=30) as client:
        for _ in range(rounds(8, 1)):
            held = [Account(client) for _ in range(4)]  # more than it runs at once
            for account in held:
                moody.to_message[account.email] = [HOLD]
                await registered(account)
            await eventually(lambda: len(moody.held) >= 2, within=60)
            redis.kill()
            await registered(after := Account(client))
            moody.release()
            await eventually(lambda: not moody.held, within=60)
            await redis.start()

            def all_arrived(accounts: tuple[Account, ...] = (*held, after)) -> bool:
                moody.release()
                return all(inbox.received(account.email) for account in accounts)

            await eventually(all_arrived, within=60)
            assert [len(inbox.received(account.email)) for account in (*held, after)] == [1] * 5
    assert stack.ended() == {}
    inbox.stop()
