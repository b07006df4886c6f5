from datetime import datetime

from sqlmodel import col, delete
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.audit import AuditEvent, AuditOrigin


async def add(db: AsyncSession, event: AuditEvent, came_from: AuditOrigin | None) -> None:
    """Write the event, then where it came from."""
    db.add(event)
    await db.flush()
    if came_from is not None:
        db.add(came_from)
        await db.flush()


async def purge_origins(db: AsyncSession, *, before: datetime) -> int:
    return (await db.exec(delete(AuditOrigin).where(col(AuditOrigin.created_at) < before))).rowcount
