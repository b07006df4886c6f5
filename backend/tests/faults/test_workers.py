"""Workers that are killed, told to stop, and raced by their tasks' owners: no task is lost, none is left behind."""

import asyncio
import json
import time
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import col, func, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db import build_engine, new_session
from app.core.errors import TaskFinished
from app.core.sql import db_now
from app.crud import task_ring, task_run
from app.models import BackgroundTask, TaskStatus
from app.services import tasks
from tests.faults.conftest import Start
from tests.faults.stack import Role, Stack, rounds
from tests.faults.tested_tasks import EFFECT, MAIN, NAP, counted, prepare
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(1800)
ROLES = {"worker": Role("worker", main=MAIN), "scheduler": Role("scheduler")}
AFTER_THE_LAST_LEASE = 60.0  # seconds


@asynccontextmanager
async def database(stack: Stack) -> AsyncIterator[AsyncEngine]:
    engine = build_engine(stack.database, pool_size=2)
    try:
        yield engine
    finally:
        await engine.dispose()


async def promise(engine: AsyncEngine, kind: Any, number: int, **arguments: Any) -> None:
    async with AsyncSession(engine) as db:
        db.add_all(
            BackgroundTask(task_type=kind, task_data=arguments, run_at=cast("datetime", db_now()))
            for _ in range(number)
        )
        await db.commit()


async def states(engine: AsyncEngine) -> Counter[str]:
    async with AsyncSession(engine) as db:
        counts = select(BackgroundTask.status, func.count()).where(col(BackgroundTask.task_type).in_((EFFECT, NAP)))
        return Counter(dict((await db.exec(counts.group_by(BackgroundTask.status))).all()))


async def rung(engine: AsyncEngine) -> set[str]:
    async with AsyncSession(engine) as db:
        found = select(BackgroundTask.id).where(BackgroundTask.status == TaskStatus.queued)
        return {str(task_id) for task_id in (await db.exec(found)).all()}


async def messages(stack: Stack) -> set[str]:
    """The rows of the messages that wait for a worker."""
    async with Redis.from_url(stack.env["REDIS_URL"]) as client:
        waiting = [json.loads(one) for one in await client.lrange(stack.env["REDIS_PREFIX"] + "default", 0, -1)]
    several = [one for message in waiting for ids in json.loads(b64decode(message["body"]))[0] for one in ids]
    return {message["headers"]["id"] for message in waiting} | set(several)


async def test_a_worker_is_killed_on_and_on_and_every_task_has_its_effect_once(start: Start) -> None:
    stack = await start(ROLES)
    batch, kills, number = rounds(20_000, 1_000), rounds(25, 3), 0
    async with database(stack) as engine:
        async with AsyncSession(engine) as db:
            await prepare(db)
        while stack.kills < kills:
            done = (await states(engine))["succeeded"]
            await promise(engine, EFFECT, batch - (number - done))  # so that each kill hits one with much to do
            number = done + batch
            further = done + batch // (2 * kills)

            async def came_further(further: int = further) -> bool:
                return (await states(engine))["succeeded"] >= further

            await eventually(came_further, within=120)
            stack.kill("worker")
        killed, left = time.monotonic(), number - (await states(engine))["succeeded"]
        assert left, "each kill has to hit a worker that has something to do"

        async def all_ended() -> bool:
            return await states(engine) == {"succeeded": number}

        await eventually(all_ended, within=task_run.RUN_LEASE.total_seconds() + AFTER_THE_LAST_LEASE)
        async with AsyncSession(engine) as db:
            effects = len(await counted(db, "effects"))
            again = (await db.exec(select(func.count()).where(col(BackgroundTask.attempts) > 1))).one()
    print(
        f"tasks={number} kills={stack.kills} effects={effects} runs anew={again} left after the last kill={left}, "
        f"settled {time.monotonic() - killed:.1f} s later"
    )
    assert effects == number


async def test_a_worker_that_is_told_to_stop_leaves_nothing_that_waits_for_a_lease(start: Start) -> None:
    stack = await start(ROLES, SHUTDOWN_TIMEOUT="1")
    async with database(stack) as engine:
        for number in range(rounds(20, 4)):
            if number % 2:  # both of its processes are in the middle of what takes long
                await promise(engine, NAP, 2, seconds=300)
            else:
                await promise(engine, NAP, 3, seconds=0.3)

            async def in_the_middle(processes: int = 1 + number % 2) -> bool:
                return (await states(engine))["running"] >= processes

            await eventually(in_the_middle, within=60)
            stack.stop("worker")
            left = await states(engine)
            assert left["running"] == 0, (number, left)

            async def every_rung_one_has_its_message() -> bool:
                return await rung(engine) <= await messages(stack)

            await eventually(every_rung_one_has_its_message, within=task_ring.RING_LEASE.total_seconds() - 5)
            async with AsyncSession(engine) as db:  # the long ones have been seen to come back
                long = (col(BackgroundTask.task_type) == NAP) & (col(BackgroundTask.status) != TaskStatus.succeeded)
                await db.exec(update(BackgroundTask).where(long).values(task_data={"seconds": 0.0}))
                counted = (await db.exec(select(func.max(BackgroundTask.attempts)).where(long))).one()
                await db.commit()
            assert not counted, "what is given back has not been tried"
            stack.start("worker")

            async def all_ended() -> bool:
                return set(await states(engine)) == {"succeeded"}

            await eventually(all_ended, within=60)
    assert "task_raised" not in stack.logged("worker")


async def test_a_cancel_that_races_the_end_leaves_one_end() -> None:
    ends = Counter[str]()
    for _ in range(rounds(200, 30)):
        async with new_session() as db:
            task = await tasks.enqueue(db, NAP, seconds=0)
            await db.exec(
                update(BackgroundTask).where(col(BackgroundTask.id) == task.id).values(status=TaskStatus.queued)
            )
            await db.commit()
        async with new_session() as db:
            (claimed,) = await task_run.claim(db, [task.id], max_attempts=1)
            await db.commit()
        cancelled, finished = await asyncio.gather(_cancel(task.id), _finish(claimed.id, claimed.attempt))
        async with new_session(read_only=True) as db:
            end = await tasks.access(db, task.id, owner=None)
        assert finished, "a running task is asked, not ended, by its owner"
        assert end.status == TaskStatus.succeeded
        assert end.cancel_requested == cancelled
        ends["asked first" if cancelled else "ended first"] += 1
    print(dict(ends))


async def _cancel(task_id: UUID) -> bool:
    async with new_session() as db:
        try:
            await tasks.cancel(db, task_id, owner=None)
        except TaskFinished:
            return False
        await db.commit()
        return True


async def _finish(task_id: UUID, attempt: int) -> bool:
    async with new_session() as db:
        kept = await task_run.succeed(db, [(task_id, attempt)])
        await db.commit()
        return kept == [task_id]
