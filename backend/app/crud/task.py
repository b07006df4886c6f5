"""Statements over `background_tasks` of those who promise tasks, own them and look after them.

Every time in them is the database's own. What relays and workers say stands in `task_run.py`.
"""

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, case
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, or_, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import db_now, insert_new
from app.crud import purging
from app.crud.pages import page, without
from app.models.background_task import ALIVE, ALIVE_WITH_KEY, UNSUCCESSFUL, BackgroundTask, TaskStatus, TaskType
from app.schemas.pages import Page, Window

_id, _status, _revision = col(BackgroundTask.id), col(BackgroundTask.status), col(BackgroundTask.revision)
_alive = _status.in_(ALIVE)
_ANEW: dict[str, object] = {
    "status": TaskStatus.pending,
    "run_at": db_now(),
    "progress": 0.0,
    "cancel_requested": False,
    **dict.fromkeys(("message", "started_at", "completed_at", "result", "error_code", "error_detail")),
}


async def add(db: AsyncSession, task: BackgroundTask) -> BackgroundTask:
    db.add(task)
    await db.flush()
    return task


async def add_unless_alive(db: AsyncSession, task: BackgroundTask) -> BackgroundTask | None:
    """Add the task, unless one with its `dedupe_key` is alive: then None."""
    if not await insert_new(db, task, conflict="dedupe_key", where=ALIVE_WITH_KEY):
        return None
    return await get(db, task.id)


async def alive_by_key(db: AsyncSession, dedupe_key: str) -> BackgroundTask | None:
    """The task with this key that is alive."""
    statement = select(BackgroundTask).where(BackgroundTask.dedupe_key == dedupe_key, _alive)
    return (await db.exec(statement.execution_options(populate_existing=True))).first()


async def get(db: AsyncSession, task_id: UUID) -> BackgroundTask | None:
    return await db.get(BackgroundTask, task_id, populate_existing=True)


async def get_of(db: AsyncSession, owner: UUID, task_id: UUID) -> BackgroundTask | None:
    """The task, if it is that account's own."""
    statement = select(BackgroundTask).where(_id == task_id, BackgroundTask.user_id == owner)
    return (await db.exec(statement.execution_options(populate_existing=True))).first()


async def find(
    db: AsyncSession,
    window: Window,
    *,
    owner: UUID | None = None,
    status: TaskStatus | None = None,
    task_type: str | None = None,
    queue: str | None = None,
    arguments: bool,
) -> Page[BackgroundTask]:
    """Tasks, the newest first: those of that owner, status, type and queue where these are given."""
    statement = select(BackgroundTask)
    if not arguments:
        statement = statement.options(without(BackgroundTask.task_data))
    if owner is not None:
        statement = statement.where(BackgroundTask.user_id == owner)
    if status is not None:
        statement = statement.where(_status == status)
    if status in (TaskStatus.failed, TaskStatus.cancelled) and owner is None:
        statement = statement.where(UNSUCCESSFUL)
    if task_type is not None:
        statement = statement.where(BackgroundTask.task_type == task_type)
    if queue is not None:
        statement = statement.where(BackgroundTask.queue == queue)
    return await page(db, statement, BackgroundTask.id, window)


async def cancel(db: AsyncSession, task_id: UUID) -> bool:
    """End a task that does not run yet, and ask one that runs to stop; False when it has ended."""
    runs, lease = _status == TaskStatus.running, col(BackgroundTask.lease_until)
    return await _change(  # in one statement: between two, a worker could give back what it runs
        db,
        (_id == task_id) & _alive,
        status=case((runs, TaskStatus.running), else_=TaskStatus.cancelled),
        lease_until=case((runs, lease), else_=None),
        completed_at=case((runs, None), else_=db_now()),
        cancel_requested=runs,
    )


async def retry(db: AsyncSession, task_id: UUID) -> bool:
    """Have a task that failed or was cancelled run again, due now.

    False when it is in neither state, or another one with its `dedupe_key` is alive.
    """
    over = _status.in_((TaskStatus.failed, TaskStatus.cancelled))
    try:
        async with db.begin_nested():
            return await _change(db, (_id == task_id) & over, **_ANEW)
    except IntegrityError:
        return False


async def purge_some(
    db: AsyncSession, states: Collection[TaskStatus], *, older_than: timedelta, most: int = purging.PORTION
) -> int:
    """Delete rows that ended so long ago, in one of these states, so many at most. What is alive stays."""
    ended = col(BackgroundTask.completed_at)
    old = _status.in_(states) & ~_alive & (ended < db_now(-older_than))
    return await purging.purge(db, BackgroundTask, old, most=most)


async def _change(db: AsyncSession, where: ColumnElement[bool], **values: object) -> bool:
    statement = update(BackgroundTask).where(where).values(revision=_revision + 1, **values)
    return (await db.exec(statement.execution_options(synchronize_session=False))).rowcount == 1


async def purge(db: AsyncSession, *, finished: timedelta, failed: timedelta) -> int:
    """Delete rows that ended so long ago, a portion of them."""
    ended = col(BackgroundTask.completed_at)
    was_failed = _status == TaskStatus.failed
    old = or_((ended < db_now(-failed)) & was_failed, (ended < db_now(-finished)) & ~was_failed)
    return await purging.purge(db, BackgroundTask, old)


async def purge_of_type(db: AsyncSession, task_type: TaskType, *, older_than: timedelta, within: timedelta) -> int:
    """Delete the rows of a type that ended so long ago, and at most `within` earlier than that: a part of an index."""
    ended = col(BackgroundTask.completed_at)
    passed = (ended < db_now(-older_than)) & (ended >= db_now(-older_than - within))
    return await purging.purge(db, BackgroundTask, passed, col(BackgroundTask.task_type) == task_type)
