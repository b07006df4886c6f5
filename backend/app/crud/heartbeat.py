from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

from sqlmodel import col, delete, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import db_now
from app.crud import purging
from app.models.heartbeat import Heartbeat

ALIVE = timedelta(seconds=30)  # three beats


async def beat(db: AsyncSession, process_id: UUID, role: str) -> None:
    """Say that this process is alive, by the database's clock."""
    changed = await db.exec(update(Heartbeat).where(col(Heartbeat.id) == process_id).values(seen_at=db_now()))
    if not changed.rowcount:
        db.add(Heartbeat(id=process_id, role=role, seen_at=cast("datetime", db_now())))
        await db.flush()


async def stop(db: AsyncSession, process_id: UUID) -> None:
    await db.exec(delete(Heartbeat).where(col(Heartbeat.id) == process_id))


async def alive(db: AsyncSession, role: str) -> bool:
    """Whether a process of this role was seen within 30 s."""
    statement = select(Heartbeat.id).where(Heartbeat.role == role, col(Heartbeat.seen_at) > db_now(-ALIVE)).limit(1)
    return (await db.exec(statement)).first() is not None


async def purge(db: AsyncSession, *, older_than: timedelta) -> int:
    return await purging.purge(db, Heartbeat, col(Heartbeat.seen_at) < db_now(-older_than))
