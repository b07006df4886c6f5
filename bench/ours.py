"""The product's own worker and scheduler with two task types more; and its front door, for the one who measures.

python -m bench.ours worker | scheduler   the mains of `neoforge worker` and `neoforge scheduler`
python -m bench.ours fill NAME COUNT      writes so many rows and commits when told; prints the ns of that moment
python -m bench.ours latency COUNT        promises one after another; prints the ms from each commit to its start
"""

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any, cast

from app.core import redis
from app.core.after_commit import take_on_commit
from app.core.db import dispose, new_session
from app.core.sql import db_now
from app.models.background_task import BackgroundTask
from app.services import tasks
from app.worker.context import current_task
from app.worker.tracking import task

from bench.effect import leave_effect
from bench.marks import mark, read, started

NOOP, EFFECT = cast("Any", "bench_noop"), cast("Any", "bench_effect")  # the product's own types are not ours to add to


@task(NOOP)
async def noop() -> None:
    mark()


@task(EFFECT, max_attempts=30)
async def effect() -> None:
    mark()
    await leave_effect(str(current_task.get()))


async def fill(name: str, count: int) -> None:
    async with new_session() as db:
        db.add_all(
            BackgroundTask(task_type=f"bench_{name}", run_at=cast("Any", db_now()), max_attempts=30)
            for _ in range(count)
        )
        await db.flush()
        print("written", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        began = time.time_ns()
        await db.commit()
    await tasks.wake_relay()
    print(began)


async def latency(count: int) -> None:
    marks, waits = Path(os.environ["BENCH_MARKS"]), []
    for _ in range(count):
        await asyncio.sleep(random.uniform(0.05, 0.15))  # so that no beat of ours falls in with a poll
        before, _ = read(marks)
        async with new_session() as db:
            await tasks.enqueue(db, NOOP)
            await db.commit()
            committed = time.time_ns()
        for action in take_on_commit(db):
            await action()
        waits.append((await started(marks, before) - committed) / 1e6)
    print(json.dumps(waits))


async def ended(work: Any) -> None:
    try:
        await work
    finally:
        await redis.close()
        await dispose()


def main(what: str, *words: str) -> None:
    if what == "worker":
        from app.worker.celery import run_worker

        run_worker()
    elif what == "scheduler":
        from app.worker import relay

        relay.run()
    elif what == "fill":
        asyncio.run(ended(fill(words[0], int(words[1]))))
    else:
        asyncio.run(ended(latency(int(words[0]))))


if __name__ == "__main__":
    main(*sys.argv[1:])
