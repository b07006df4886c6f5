"""Statements over `background_tasks`. Every time in them is the database's own."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlmodel import col, delete, func, or_, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import db_now
from app.crud.pages import page
from app.models.background_task import BackgroundTask, TaskStatus, TaskType
from app.schemas.pages import Page, Window

RING_LEASE = timedelta(seconds=15)  # a message that nobody took by then is taken for lost, and the row is rung again
RUN_LEASE = timedelta(seconds=30)  # renewed every 10 s: two beats may be lost before a live task is offered again
RENEW_EVERY = timedelta(seconds=10)

_id, _status, _lease = col(BackgroundTask.id), col(BackgroundTask.status), col(BackgroundTask.lease_until)
_leased = _status.in_((TaskStatus.queued, TaskStatus.running))
_ENDED = {"lease_until": None, "completed_at": db_now()}


async def add(db: AsyncSession, task: BackgroundTask) -> BackgroundTask:
    db.add(task)
    await db.flush()
    return task


async def get(db: AsyncSession, task_id: UUID) -> BackgroundTask | None:
    return await db.get(BackgroundTask, task_id, populate_existing=True)


async def get_of(db: AsyncSession, owner: UUID, task_id: UUID) -> BackgroundTask | None:
    """The task, if it is that account's own."""
    statement = select(BackgroundTask).where(_id == task_id, BackgroundTask.user_id == owner)
    return (await db.exec(statement.execution_options(populate_existing=True))).first()


async def of_owner(
    db: AsyncSession, owner: UUID, window: Window, *, status: TaskStatus | None, task_type: TaskType | None
) -> Page[BackgroundTask]:
    statement = select(BackgroundTask).where(BackgroundTask.user_id == owner)
    if status is not None:
        statement = statement.where(_status == status)
    if task_type is not None:
        statement = statement.where(BackgroundTask.task_type == task_type)
    return await page(db, statement, BackgroundTask.id, window)


async def any_due(db: AsyncSession) -> bool:
    """Whether a relay has something to do."""
    waiting = (_status == TaskStatus.pending) & (col(BackgroundTask.run_at) <= db_now())
    lapsed = _leased & (_lease < db_now())
    return (await db.exec(select(_id).where(or_(waiting, lapsed)).limit(1))).first() is not None


async def give_up(db: AsyncSession) -> list[UUID]:
    """Park the tasks whose worker died on their last attempt."""
    spent = (_status == TaskStatus.running) & (_lease < db_now())
    statement = (
        update(BackgroundTask)
        .where(spent, col(BackgroundTask.attempts) >= col(BackgroundTask.max_attempts))
        .values(
            status=TaskStatus.failed,
            error_code="worker_lost",
            error_detail="Its worker died, on every attempt.",
            **_ENDED,
        )
        .returning(_id)
    )
    return list((await db.exec(statement)).scalars().all())


async def ring_lapsed(db: AsyncSession, *, most: int) -> list[BackgroundTask]:
    """Take the rows whose lease ran out: a message was lost, or a worker died."""
    chosen = select(_id).where(_leased, _lease < db_now()).limit(most).with_for_update(skip_locked=True)
    return await _ring(db, chosen)


async def ring_due(db: AsyncSession, queue: str, *, most: int) -> list[BackgroundTask]:
    """Take the due rows of a queue, the most urgent first. Of several relays at once, each row goes to one."""
    chosen = (
        select(_id)
        .where(_status == TaskStatus.pending, BackgroundTask.queue == queue, col(BackgroundTask.run_at) <= db_now())
        .order_by(col(BackgroundTask.priority), col(BackgroundTask.run_at))
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return await _ring(db, chosen)


async def _ring(db: AsyncSession, chosen: Any) -> list[BackgroundTask]:
    ids = list((await db.exec(chosen)).all())
    if not ids:
        return []
    statement = (
        update(BackgroundTask)
        .where(_id.in_(ids))
        .values(status=TaskStatus.queued, lease_until=db_now(RING_LEASE))
        .returning(BackgroundTask)
    )
    return list((await db.exec(statement)).scalars().all())


async def waiting_queues(db: AsyncSession) -> list[str]:
    due = (_status == TaskStatus.pending) & (col(BackgroundTask.run_at) <= db_now())
    return list((await db.exec(select(BackgroundTask.queue).where(due).distinct())).all())


async def queued(db: AsyncSession, queue: str) -> int:
    """How many rows of the queue have been rung and not been claimed."""
    statement = select(func.count()).where(_status == TaskStatus.queued, BackgroundTask.queue == queue)
    return (await db.exec(statement)).one()


async def claim(db: AsyncSession, task_id: UUID, *, max_attempts: int) -> BackgroundTask | None:
    """Make the row ours to run, by compare-and-swap; None when it is not to be had. Its attempt is the fence."""
    statement = (
        update(BackgroundTask)
        .where(_id == task_id, _status == TaskStatus.queued)
        .values(
            status=TaskStatus.running,
            attempts=col(BackgroundTask.attempts) + 1,
            max_attempts=max_attempts,
            lease_until=db_now(RUN_LEASE),
            started_at=db_now(),
        )
        .returning(BackgroundTask)
    )
    return (await db.exec(statement)).scalars().first()


async def renew(db: AsyncSession, task_id: UUID, attempt: int) -> bool:
    """Hold a running row for another 30 s; False when it is not ours any more."""
    return await _fenced(db, task_id, attempt, lease_until=db_now(RUN_LEASE))


async def succeed(db: AsyncSession, task_id: UUID, attempt: int, result: dict[str, Any] | None) -> bool:
    return await _fenced(
        db,
        task_id,
        attempt,
        status=TaskStatus.succeeded,
        progress=1.0,
        result=result,
        error_code=None,
        error_detail=None,
        **_ENDED,
    )


async def fail(db: AsyncSession, task_id: UUID, attempt: int, code: str, detail: str) -> bool:
    return await _fenced(db, task_id, attempt, status=TaskStatus.failed, error_code=code, error_detail=detail, **_ENDED)


async def retry_later(db: AsyncSession, task_id: UUID, attempt: int, delay: timedelta, code: str, detail: str) -> bool:
    """Give the row back, due after `delay`."""
    return await _fenced(
        db,
        task_id,
        attempt,
        status=TaskStatus.pending,
        run_at=db_now(delay),
        lease_until=None,
        error_code=code,
        error_detail=detail,
    )


async def _fenced(db: AsyncSession, task_id: UUID, attempt: int, **values: Any) -> bool:
    """Change the row only while it is this attempt that runs it."""
    running = (_id == task_id) & (_status == TaskStatus.running) & (col(BackgroundTask.attempts) == attempt)
    statement = update(BackgroundTask).where(running).values(**values).execution_options(synchronize_session=False)
    return (await db.exec(statement)).rowcount == 1


async def purge(db: AsyncSession, *, finished: timedelta, failed: timedelta) -> int:
    """Delete rows that ended so long ago."""
    ended = col(BackgroundTask.completed_at)
    was_failed = _status == TaskStatus.failed
    old = or_((ended < db_now(-failed)) & was_failed, (ended < db_now(-finished)) & ~was_failed)
    return (await db.exec(delete(BackgroundTask).where(old))).rowcount
