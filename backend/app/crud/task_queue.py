"""Statements over queues: which are paused, and what stands in each."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy.exc import IntegrityError
from sqlmodel import case, col, delete, func, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import db_now
from app.models.background_task import HELD, BackgroundTask, TaskStatus
from app.models.task_queue import PausedQueue

_c: Any = BackgroundTask.__table__.c  # type: ignore[attr-defined]  # SQLModel sets it on every table class


@dataclass(slots=True)
class Load:
    """What stands in a queue."""

    due: int = 0
    """Pending, and due."""
    later: int = 0
    """Pending, and not due yet."""
    rung: int = 0
    """Handed to Celery, and claimed by no worker yet."""
    running: int = 0
    oldest_due: float | None = None
    """Seconds that the row which is pending for the longest has been due."""


async def paused(db: AsyncSession) -> dict[str, datetime]:
    """The queues of which nothing is started, and since when."""
    return {row.name: row.paused_at for row in (await db.exec(select(PausedQueue))).all()}


async def pause(db: AsyncSession, name: str) -> bool:
    """Start nothing of the queue any more; False when it was paused already.

    What was rung and not claimed goes back, so that its message is void.
    """
    rung = (HELD, _c.queue == name, _c.status == TaskStatus.queued)
    back = {"status": TaskStatus.pending, "lease_until": None, "revision": _c.revision + 1}
    new = await _mark(db, name)
    await db.exec(update(BackgroundTask).where(*rung).values(**back).execution_options(synchronize_session=False))
    return new


async def _mark(db: AsyncSession, name: str) -> bool:
    try:
        async with db.begin_nested():
            db.add(PausedQueue(name=name, paused_at=cast("datetime", db_now())))
    except IntegrityError:
        return False
    return True


async def resume(db: AsyncSession, name: str) -> bool:
    """Start its tasks again; False when it was not paused."""
    return (await db.exec(delete(PausedQueue).where(col(PausedQueue.name) == name))).rowcount == 1


async def loads(db: AsyncSession) -> dict[str, Load]:
    """What stands in each queue of which a row is alive. It reads all of these in their indexes, however many."""
    found: dict[str, Load] = defaultdict(Load)
    is_due = case((_c.run_at <= db_now(), 1), else_=0)
    columns: tuple[Any, ...] = (_c.queue, func.count(), func.sum(is_due), func.min(_c.run_at), db_now())
    pending = select(*columns).where(_c.status == TaskStatus.pending).group_by(_c.queue)
    for name, number, due, first, now in (await db.exec(pending)).all():
        found[name].due, found[name].later = due, number - due
        found[name].oldest_due = max(0.0, (now - first).total_seconds()) if due else None
    held = select(_c.queue, _c.status, func.count()).where(HELD).group_by(_c.queue, _c.status)
    for name, status, number in (await db.exec(held)).all():
        setattr(found[name], "running" if status == TaskStatus.running else "rung", number)
    return dict(found)
