"""Promises: work to do later is a row in the same transaction as the change that asks for it."""

from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core import redis
from app.core.after_commit import on_commit
from app.core.config import settings
from app.core.errors import NotFound, TaskFinished, TaskNotRetryable
from app.core.sql import db_now
from app.crud import task as rows
from app.models.background_task import LEISURELY, URGENT, USUAL, BackgroundTask, TaskStatus, TaskType
from app.models.base import fresh
from app.models.user import User
from app.schemas.pages import Page, Window
from app.services.payload import checked

WAKE_BUDGET = 0.5  # seconds; a lost wake-up costs the relay's poll of one second, and not the task


async def enqueue(
    db: AsyncSession,
    task_type: TaskType,
    *,
    owner: User | None = None,
    dedupe_key: str | None = None,
    run_at: datetime | None = None,
    priority: int = USUAL,
    queue: str = "default",
    **arguments: Any,
) -> BackgroundTask:
    """Promise a task. It exists when the caller's transaction commits, and only then; then the relay is woken.

    It takes and raises what `new` does. Where a task with its `dedupe_key` is alive, that is answered, none is added.
    """
    return await add(
        db,
        new(
            task_type,
            owner=owner,
            dedupe_key=dedupe_key,
            run_at=run_at,
            priority=priority,
            queue=queue,
            **arguments,
        ),
    )


def new(
    task_type: TaskType,
    *,
    owner: User | None = None,
    dedupe_key: str | None = None,
    run_at: datetime | None = None,
    priority: int = USUAL,
    queue: str = "default",
    **arguments: Any,
) -> BackgroundTask:
    """A task that is still to be stored, by `add`.

    `arguments` are the task function's, as JSON values; ids may be given as UUIDs. Of the tasks that are alive one at
    most has a `dedupe_key` (1-200 characters). Not before `run_at` (aware; now, by the database's clock), the priority
    0 first and 9 last, a queue of TASK_QUEUES.

    Raises:
        PayloadRefused: the arguments cannot be stored.
        ValueError: there is no such queue or priority, or the key is too long.
    """
    if queue not in settings.task_queues:
        raise ValueError(f"there is no queue {queue!r}: TASK_QUEUES names {', '.join(settings.task_queues)}")
    if not URGENT <= priority <= LEISURELY:
        raise ValueError(f"a priority is {URGENT} to {LEISURELY}, not {priority}")
    if dedupe_key is not None and not 1 <= len(dedupe_key) <= 200:
        raise ValueError("a dedupe_key has 1 to 200 characters")
    return fresh(
        BackgroundTask,
        task_type=task_type,
        task_data=checked(arguments),
        user_id=owner.id if owner else None,
        dedupe_key=dedupe_key,
        run_at=run_at or cast("datetime", db_now()),
        priority=priority,
        queue=queue,
    )


async def add(db: AsyncSession, task: BackgroundTask) -> BackgroundTask:
    """Store a task, and wake the relay once the caller's transaction commits."""
    key = task.dedupe_key
    stored = await (rows.add(db, task) if key is None else _the_one_of_its_key(db, task, key))
    wake_on_commit(db)
    return stored


def wake_on_commit(db: AsyncSession) -> None:
    """Have the relay look for what this transaction promised."""
    on_commit(db, "wake_relay", wake_relay)


async def _the_one_of_its_key(db: AsyncSession, new: BackgroundTask, dedupe_key: str) -> BackgroundTask:
    while True:
        task = await rows.add_unless_alive(db, new) or await rows.alive_by_key(db, dedupe_key)
        if task is not None:  # else the one that was alive has ended between the two statements
            return task


async def access(db: AsyncSession, task_id: UUID, *, owner: UUID | None) -> BackgroundTask:
    """One of the owner's tasks; anybody's where `owner` is None.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    task = await (rows.get(db, task_id) if owner is None else rows.get_of(db, owner, task_id))
    if task is None:
        raise NotFound
    return task


async def find(
    db: AsyncSession,
    window: Window,
    *,
    owner: UUID | None = None,
    status: TaskStatus | None = None,
    task_type: str | None = None,
    queue: str | None = None,
    arguments: bool = False,
) -> Page[BackgroundTask]:
    """Tasks, those of that owner, status, type and queue where these are given; with their `arguments` where asked."""
    return await rows.find(
        db, window, owner=owner, status=status, task_type=task_type, queue=queue, arguments=arguments
    )


async def cancel(db: AsyncSession, task_id: UUID, *, owner: UUID | None) -> BackgroundTask:
    """End a task that waits, so that it never runs; ask one that runs to stop.

    Raises:
        NotFound: as `access`.
        TaskFinished: it has ended.
    """
    await access(db, task_id, owner=owner)
    if not await rows.cancel(db, task_id):
        raise TaskFinished
    return await access(db, task_id, owner=owner)


async def retry(db: AsyncSession, task_id: UUID, *, owner: UUID | None) -> BackgroundTask:
    """Have a failed or cancelled task run again, from now on, with its attempts kept.

    Raises:
        NotFound: as `access`.
        TaskNotRetryable: it is in neither state, or another one with its `dedupe_key` is alive.
    """
    await access(db, task_id, owner=owner)
    if not await rows.retry(db, task_id):
        raise TaskNotRetryable
    wake_on_commit(db)
    return await access(db, task_id, owner=owner)


async def wake_relay(takes: tuple[str, float] | None = None) -> None:
    """Tell the relay that there is something to do. Redis may be away: the relay looks by itself each second.

    `takes` says of a type of task how many seconds one of them usually takes, so that fewer come in one message.
    """
    message = f"{takes[0]} {takes[1]:.6f}" if takes else ""

    async def publish() -> None:
        await redis.redis_client().publish(await redis.key("wake"), message)

    await redis.within(WAKE_BUDGET, publish())
