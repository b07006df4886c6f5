from datetime import datetime

from sqlalchemy import insert, literal
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.audit import AuditEvent, AuditOrigin
from app.models.user import User


async def add(db: AsyncSession, event: AuditEvent, came_from: AuditOrigin | None) -> None:
    """Write the event, then where it came from, which goes with its account: nothing where that is going just now."""
    db.add(event)
    await db.flush()
    if came_from is None:
        return
    if came_from.user_id is None:
        db.add(came_from)
        await db.flush()
        return
    columns = AuditOrigin.__table__.columns  # type: ignore[attr-defined]  # SQLModel sets it on every table class
    values = [literal(getattr(came_from, column.key), column.type) for column in columns]
    theirs = select(*values).where(User.id == came_from.user_id).with_for_update(read=True, key_share=True, of=User)
    await db.exec(insert(AuditOrigin).from_select([column.key for column in columns], theirs))


async def purge_origins(db: AsyncSession, *, before: datetime) -> int:
    return (await db.exec(delete(AuditOrigin).where(col(AuditOrigin.created_at) < before))).rowcount
