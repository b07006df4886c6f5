from datetime import datetime
from uuid import UUID

from sqlmodel import and_, col, delete, exists, or_, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import insert_new
from app.crud import purging
from app.models.background_task import BackgroundTask, TaskStatus
from app.models.export import Export, ExportChunk
from app.models.user import User

PURGED = 10  # exports in one transaction: each takes its pieces along

_PROMISED = (TaskStatus.pending, TaskStatus.queued, TaskStatus.running)


async def claim(db: AsyncSession, export: Export, *, now: datetime) -> bool:
    """Make this the account's one export; False when another one is alive: being made, or made and not expired."""
    being_made = exists().where(
        col(BackgroundTask.id) == col(Export.task_id), col(BackgroundTask.status).in_(_PROMISED)
    )
    dead = or_(col(Export.expires_at) <= now, and_(col(Export.size).is_(None), ~being_made))
    await db.exec(delete(Export).where(col(Export.user_id) == export.user_id, dead))
    return await insert_new(db, export, conflict="user_id")


async def begin(db: AsyncSession, export: Export) -> bool:
    """Start an attempt: what an earlier one of the same task left goes. False when the account is gone, or has another.

    Each attempt has an id of its own, so that one that was taken for dead finds nothing to write to.
    """
    await db.exec(delete(Export).where(col(Export.user_id) == export.user_id, col(Export.task_id) == export.task_id))
    owner = select(User.id).where(User.id == export.user_id).with_for_update(read=True, key_share=True)
    if (await db.exec(owner)).first() is None:
        return False
    return await insert_new(db, export, conflict="user_id")


async def add_chunk(db: AsyncSession, export_id: UUID, number: int, data: bytes) -> bool:
    """Write a piece; False when the export is gone, with its account or to a later attempt."""
    standing = select(Export.id).where(Export.id == export_id).with_for_update(read=True, key_share=True)
    if (await db.exec(standing)).first() is None:
        return False
    db.add(ExportChunk(export_id=export_id, number=number, data=data))
    await db.flush()
    return True


async def finish(db: AsyncSession, export_id: UUID, *, size: int, expires_at: datetime) -> bool:
    """All pieces stand: it can be fetched. False when it is gone."""
    whole = update(Export).where(col(Export.id) == export_id).values(size=size, expires_at=expires_at)
    return (await db.exec(whole)).rowcount == 1


async def of_user(db: AsyncSession, user_id: UUID) -> Export | None:
    return (await db.exec(select(Export).where(Export.user_id == user_id))).first()


async def chunk(db: AsyncSession, export_id: UUID, number: int) -> bytes | None:
    statement = select(ExportChunk.data).where(ExportChunk.export_id == export_id, ExportChunk.number == number)
    return (await db.exec(statement)).first()


async def purge(db: AsyncSession, *, before: datetime) -> int:
    return await purging.purge(db, Export, col(Export.expires_at) < before, most=PURGED)
