"""Work on accounts."""

from typing import Any
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from app.core.clock import utc_now
from app.core.db import new_session
from app.core.sql import new_id
from app.crud import export as rows
from app.models.background_task import TaskType
from app.models.export import Export
from app.schemas.base import rfc3339
from app.services import export
from app.worker.context import current_task
from app.worker.tracking import task

CHUNK = 256 * 1024  # bytes


class ExportGone(Exception):
    """The export went while it was made: with its account, or because a later attempt took this one for dead."""


@task(TaskType.export_account, retry_on=(DBAPIError, OSError), max_attempts=5)
async def export_account(user_id: UUID) -> dict[str, Any] | None:
    """Gather all that is held about the account. An attempt that died half-way is made anew from the beginning."""
    made = Export(id=new_id(), user_id=user_id, task_id=current_task.get(), expires_at=utc_now() + export.LIFE)
    async with new_session() as db:
        begun = await rows.begin(db, made)
        await db.commit()
    if not begun:
        raise ExportGone
    size = await _write(made.id, user_id)
    expires_at = utc_now() + export.LIFE
    async with new_session() as db:
        finished = await rows.finish(db, made.id, size=size, expires_at=expires_at)
        await db.commit()
    if not finished:
        raise ExportGone
    return {"url": f"/api/v1/users/me/export/{made.id}", "size": size, "expires_at": rfc3339(expires_at)}


async def _write(export_id: UUID, user_id: UUID) -> int:
    """Store the document in pieces, a transaction each; its size in bytes."""
    size = number = 0
    gathered = bytearray()
    async for text in export.document(user_id):
        gathered += text
        if len(gathered) >= CHUNK:
            await _store(export_id, number, gathered)
            size, number = size + len(gathered), number + 1
            gathered.clear()
    await _store(export_id, number, gathered)
    return size + len(gathered)


async def _store(export_id: UUID, number: int, data: bytearray) -> None:
    async with new_session() as db:
        if not await rows.add_chunk(db, export_id, number, bytes(data)):
            raise ExportGone
        await db.commit()
