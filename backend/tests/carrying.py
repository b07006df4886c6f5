"""Carrying out a promised task in this process, whether or not a worker runs beside it."""

from uuid import UUID

from sqlmodel import col, update

import app.worker.tasks  # noqa: F401 - registers the tasks
from app.core.db import new_session
from app.crud import task as rows
from app.models import BackgroundTask, TaskStatus
from app.worker import runtime
from app.worker.holding import Holder
from tests.waiting import eventually

ENDED = (TaskStatus.succeeded, TaskStatus.failed, TaskStatus.cancelled)


async def carry_out(task_id: UUID | str) -> BackgroundTask:
    """Ring the row and run it, as relay and worker do; the row once it has ended."""
    number = UUID(str(task_id))
    mine = (col(BackgroundTask.id) == number) & (col(BackgroundTask.status) == TaskStatus.pending)
    async with new_session() as db:
        await db.exec(update(BackgroundTask).where(mine).values(status=TaskStatus.queued))
        await db.commit()
    async with new_session(read_only=True) as db:
        row = await rows.get(db, number)
    assert row is not None
    holder = Holder()
    try:
        await runtime.carry_out(row.task_type, [number], holder)
    finally:
        holder.pulse.stop()

    async def ended() -> BackgroundTask | None:
        async with new_session(read_only=True) as db:
            row = await rows.get(db, number)
        return row if row and row.status in ENDED else None

    found: BackgroundTask = await eventually(ended)
    return found
