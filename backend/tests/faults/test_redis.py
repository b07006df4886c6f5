"""Redis that dies, forgets, swallows, repeats and is full, under load: no promise is lost, none is kept twice.

Nothing is started again but Redis itself: the product has to find its way back alone.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis as Client

from app.core.config import settings
from tests.faults.conftest import Start
from tests.faults.load import load
from tests.faults.recorder import Recorder, settled
from tests.faults.servers import Redis
from tests.faults.stack import Role, rounds
from tests.inbox import Inbox
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
            message = await self._relay.brpop(queues, timeout=1)
            if message:
                for _ in range(self.times):
                    await self._workers.lpush(*message)
                self.carried += 1

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
    yield carrier
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await carrier.close()


def roles(redis: Redis) -> dict[str, Role]:
    """The relay rings in one database and the workers listen in another, with the carrier between them."""
    relay = {"BROKER_URL": redis.database(1)}
    return {"api": Role("serve"), "worker": Role("worker"), "scheduler": Role("scheduler", relay)}


async def test_redis_is_killed_on_and_on(start: Start, redis: Redis, recorder: Recorder, smtp: Inbox) -> None:
    stack = await start(REDIS_URL=redis.url, REDIS_PREFIX=PREFIX)
    async with load(stack.addresses[0], recorder):
        for _ in range(rounds(8, 3)):
            await recorder.answered(5)
            redis.kill()
            await recorder.answered(5)
            await redis.start()
        await recorder.answered(5)
    print(await settled(recorder, stack, smtp, mails=1))


async def test_redis_forgets_everything(start: Start, redis: Redis, recorder: Recorder, smtp: Inbox) -> None:
    stack = await start(REDIS_URL=redis.url, REDIS_PREFIX=PREFIX)
    async with load(stack.addresses[0], recorder), Client.from_url(redis.url) as client:
        for _ in range(rounds(50, 10)):
            await recorder.answered(2)
            await client.flushall()
        await recorder.answered(5)
    print(await settled(recorder, stack, smtp, mails=1))


async def test_the_broker_swallows_every_message_for_a_while(
    start: Start, redis: Redis, recorder: Recorder, smtp: Inbox
) -> None:
    async with carrying(redis) as carrier:
        stack = await start(roles(redis), REDIS_URL=redis.url, REDIS_PREFIX=PREFIX)
        async with load(stack.addresses[0], recorder):
            await recorder.answered(5)
            carrier.times = 0
            await carrier.more(rounds(100, 10))
            carrier.times = 1
            await recorder.answered(5)
        print(await settled(recorder, stack, smtp, mails=1))


async def test_every_message_is_delivered_three_times(
    start: Start, redis: Redis, recorder: Recorder, smtp: Inbox
) -> None:
    async with carrying(redis) as carrier:
        carrier.times = 3
        stack = await start(roles(redis), REDIS_URL=redis.url, REDIS_PREFIX=PREFIX)
        async with load(stack.addresses[0], recorder):
            await carrier.more(rounds(200, 20))
        print(await settled(recorder, stack, smtp, mails=1))
        await eventually(lambda: stack.logged("worker").count("task_messages_dropped") >= carrier.carried)


async def test_redis_is_out_of_memory_for_a_while(start: Start, redis: Redis, recorder: Recorder, smtp: Inbox) -> None:
    stack = await start(REDIS_URL=redis.url, REDIS_PREFIX=PREFIX)
    async with load(stack.addresses[0], recorder), Client.from_url(redis.url) as client:
        for _ in range(rounds(5, 2)):
            await recorder.answered(5)
            await client.config_set("maxmemory", "1")
            await recorder.answered(rounds(50, 10))
            await client.config_set("maxmemory", "0")
        await recorder.answered(5)
    print(await settled(recorder, stack, smtp, mails=1))
