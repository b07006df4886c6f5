"""Statements over the queues that are paused."""

from datetime import datetime
from typing import cast

from sqlmodel import col, delete, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import db_now
from app.models.background_task import BackgroundTask, TaskStatus
from app.models.task_queue import PausedQueue


async def paused(db: AsyncSession) -> dict[str, datetime]:
    """The queues of which nothing is started, and since when."""
    return {row.name: row.paused_at for row in (await db.exec(select(PausedQueue))).all()}


async def pause(db: AsyncSession, name: str) -> None:
    """Start nothing of the queue any more. What was rung and not claimed goes back, so that its message is void."""
    if await db.get(PausedQueue, name) is None:
        db.add(PausedQueue(name=name, paused_at=cast("datetime", db_now())))
        await db.flush()
    rung = (col(BackgroundTask.queue) == name) & (col(BackgroundTask.status) == TaskStatus.queued)
    back = {"status": TaskStatus.pending, "lease_until": None, "revision": col(BackgroundTask.revision) + 1}
    await db.exec(update(BackgroundTask).where(rung).values(**back).execution_options(synchronize_session=False))


async def resume(db: AsyncSession, name: str) -> bool:
    """Start its tasks again; False when it was not paused."""
    return (await db.exec(delete(PausedQueue).where(col(PausedQueue.name) == name))).rowcount == 1
