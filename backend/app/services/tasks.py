"""Promises: work to do later is a row in the same transaction as the change that asks for it."""

from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core import redis
from app.core.db import on_commit
from app.core.errors import NotFound
from app.core.sql import db_now
from app.crud import task as rows
from app.models.background_task import BackgroundTask, TaskStatus, TaskType
from app.models.user import User
from app.schemas.pages import Page, Window

WAKE_BUDGET = 0.5  # seconds; a lost wake-up costs the relay's poll of one second, and not the task


async def enqueue(
    db: AsyncSession, task_type: TaskType, *, owner: User | None = None, **arguments: Any
) -> BackgroundTask:
    """Promise a task. It exists when the caller's transaction commits, and only then; then the relay is woken.

    `arguments` are the task function's, as JSON values; ids may be given as UUIDs.
    """
    data = {name: str(value) if isinstance(value, UUID) else value for name, value in arguments.items()}
    task = await rows.add(
        db,
        BackgroundTask(
            task_type=task_type, task_data=data, user_id=owner.id if owner else None, run_at=cast("datetime", db_now())
        ),
    )
    on_commit(db, "wake_relay", wake_relay)
    return task


async def access(db: AsyncSession, owner: UUID, task_id: UUID) -> BackgroundTask:
    """One of the owner's tasks.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    task = await rows.get_of(db, owner, task_id)
    if task is None:
        raise NotFound
    return task


async def own(
    db: AsyncSession, owner: UUID, window: Window, *, status: TaskStatus | None, task_type: TaskType | None
) -> Page[BackgroundTask]:
    """The owner's tasks, those of that status and type where these are given."""
    return await rows.of_owner(db, owner, window, status=status, task_type=task_type)


async def wake_relay() -> None:
    """Tell the relay that there is something to do. Redis may be away: the relay looks by itself each second."""

    async def publish() -> None:
        await redis.redis_client().publish(await redis.key("wake"), "1")

    await redis.within(WAKE_BUDGET, publish())
