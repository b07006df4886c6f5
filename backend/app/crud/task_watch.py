"""What the watcher asks of `background_tasks`: short statements, with nothing held between them."""

from collections.abc import Sequence
from uuid import UUID

from sqlmodel import col, select

from app.core.db import new_session, reading
from app.core.sql import one_of
from app.models.background_task import BackgroundTask

_id = col(BackgroundTask.id)


async def revisions(task_ids: Sequence[UUID]) -> dict[UUID, int]:
    """The revision of each of these tasks, at most 500, that is there."""
    statement = select(BackgroundTask.id, BackgroundTask.revision).where(one_of(_id, task_ids))
    async with reading() as connection:
        return {row.id: row.revision for row in (await connection.execute(statement)).all()}


async def load(task_ids: Sequence[UUID]) -> Sequence[BackgroundTask]:
    """These tasks, at most 500, as they stand: copies that no session holds."""
    async with new_session(read_only=True) as db:
        return (await db.exec(select(BackgroundTask).where(one_of(_id, task_ids)))).all()
