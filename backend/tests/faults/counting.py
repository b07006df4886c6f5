"""A task whose starts and effect can be counted, and the product's processes with it: MAIN is their main.

CLOCK_AHEAD sets the clock of such a process that many hours ahead of the machine's.
"""

import asyncio
import os
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core import clock
from app.core.db import new_session
from app.core.sql import db_now, new_id
from app.models.background_task import BackgroundTask, TaskType
from app.worker.context import current_task
from app.worker.tracking import task

MAIN = "from tests.faults.counting import main; main()"
COUNT = cast("TaskType", "count")  # of the tests alone: no change of the product's can make it run
TABLES = (
    "CREATE TABLE starts (task_id VARCHAR(36) NOT NULL)",
    "CREATE TABLE effects (task_id VARCHAR(36) PRIMARY KEY)",
)
_STARTED = text("INSERT INTO starts (task_id) VALUES (:task_id)")
_DONE = text("INSERT INTO effects (task_id) VALUES (:task_id) ON CONFLICT DO NOTHING")


@task(COUNT, retry_on=(DBAPIError, OSError), max_attempts=20)
async def count(seconds: float) -> None:
    """Say that it starts; after so many seconds have its effect, which is guarded by the task's id."""
    for statement in (_STARTED, _DONE):
        async with new_session() as db:
            await (await db.connection()).execute(statement, {"task_id": str(current_task.get())})
            await db.commit()
        if statement is _STARTED:
            await asyncio.sleep(seconds)


async def prepare(db: AsyncSession) -> None:
    """Make the tables."""
    for table in TABLES:
        await (await db.connection()).execute(text(table))
    await db.commit()


async def promise(db: AsyncSession, number: int, *, seconds: float = 0, every: float = 0) -> set[UUID]:
    """Promise so many counts of so many seconds, one due `every` so many; their ids."""
    rows = [BackgroundTask(id=new_id(), task_type=COUNT, task_data={"seconds": seconds}) for _ in range(number)]
    for place, row in enumerate(rows):
        row.run_at = cast("datetime", db_now(timedelta(seconds=place * every)))
    db.add_all(rows)
    promised = {row.id for row in rows}
    await db.commit()
    return promised


async def counted(db: AsyncSession, table: str) -> list[UUID]:
    """The tasks in `starts` or `effects`, each as often as it stands there."""
    rows = await (await db.connection()).execute(text(f"SELECT task_id FROM {table}"))
    return [UUID(task_id) for task_id in rows.scalars()]


def main() -> None:
    """`neoforge …` with the task."""
    clock.shift(timedelta(hours=float(os.environ.get("CLOCK_AHEAD", "0"))))
    from app.cli import main as product

    product()
