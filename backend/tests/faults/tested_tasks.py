"""Tasks of the tests' own, in the product's own processes: `Role("worker", main=MAIN)`.

CLOCK_AHEAD sets the clock of such a process that many hours ahead of the machine's.
"""

import asyncio
import os
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core import clock
from app.core.db import new_session
from app.core.sql import db_now, new_id
from app.models.background_task import BackgroundTask, TaskType
from app.worker.context import current_task
from app.worker.tracking import task

MAIN = "from tests.faults.tested_tasks import main; main()"
# Of the tests alone: no change of the product's can make them run.
EFFECT, COUNT, NAP = (cast("TaskType", name) for name in ("tested_effect", "tested_count", "tested_nap"))
TABLES = (
    "CREATE TABLE starts (task_id VARCHAR(36) NOT NULL)",
    "CREATE TABLE effects (task_id VARCHAR(36) PRIMARY KEY)",
)
_STARTED = text("INSERT INTO starts (task_id) VALUES (:task_id)")
_DONE = text("INSERT INTO effects (task_id) VALUES (:task_id) ON CONFLICT DO NOTHING")


@task(EFFECT, max_attempts=100)
async def leave_effect() -> None:
    """An effect that is guarded by the task's id: a second run finds that it is there."""
    await _write(_DONE)


@task(COUNT, retry_on=(DBAPIError, OSError), max_attempts=20)
async def count(seconds: float) -> None:
    """Say that it starts; after so many seconds have its effect."""
    await _write(_STARTED)
    await asyncio.sleep(seconds)  # the work that takes so long
    await _write(_DONE)


@task(NAP)
async def nap(seconds: float) -> None:
    await asyncio.sleep(seconds)  # the work that takes so long


async def _write(statement: TextClause) -> None:
    async with new_session() as db:
        await (await db.connection()).execute(statement, {"task_id": str(current_task.get())})
        await db.commit()


async def prepare(db: AsyncSession) -> None:
    """Make the tables."""
    for table in TABLES:
        await (await db.connection()).execute(text(table))
    await db.commit()


async def promise(db: AsyncSession, number: int, *, seconds: float) -> set[UUID]:
    """Promise so many counts of so many seconds; their ids."""
    now = cast("datetime", db_now())
    rows = [BackgroundTask(id=new_id(), task_type=COUNT, task_data={"seconds": seconds}, run_at=now)
            for _ in range(number)]  # fmt: skip
    db.add_all(rows)
    promised = {row.id for row in rows}
    await db.commit()
    return promised


async def counted(db: AsyncSession, table: str) -> list[UUID]:
    """The tasks in `starts` or `effects`, each as often as it stands there."""
    rows = await (await db.connection()).execute(text(f"SELECT task_id FROM {table}"))
    return [UUID(task_id) for task_id in rows.scalars()]


def main() -> None:
    """`neoforge …` with the tasks."""
    clock.shift(timedelta(hours=float(os.environ.get("CLOCK_AHEAD", "0"))))
    from app.cli import main as product

    product()
