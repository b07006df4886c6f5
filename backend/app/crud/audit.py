from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.audit import AuditEvent, AuditOrigin


async def add(db: AsyncSession, event: AuditEvent, came_from: AuditOrigin | None) -> None:
    """Write the event, then where it came from."""
    db.add(event)
    await db.flush()
    if came_from is not None:
        db.add(came_from)
        await db.flush()
