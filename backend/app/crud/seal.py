"""The chain of seals, and what waits to be appended to it."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.audit import AuditEvent, AuditSeal, AuditUnsealed


async def newest(db: AsyncSession) -> AuditSeal | None:
    return (await db.exec(select(AuditSeal).order_by(col(AuditSeal.sequence).desc()).limit(1))).first()


async def waiting_since(db: AsyncSession) -> datetime | None:
    """When the first of the events that wait was written; None when none waits."""
    statement = (
        select(AuditEvent.created_at)
        .join(AuditUnsealed, col(AuditUnsealed.event_id) == col(AuditEvent.id))
        .order_by(col(AuditUnsealed.event_id))
        .limit(1)
    )
    return (await db.exec(statement)).first()


async def waiting(db: AsyncSession, *, most: int) -> list[tuple[AuditEvent, int | None]]:
    """The events that wait, in the order of their ids. One that has a seal already comes with its number."""
    statement = (
        select(AuditEvent, AuditSeal.sequence)
        .join(AuditUnsealed, col(AuditUnsealed.event_id) == col(AuditEvent.id))
        .outerjoin(AuditSeal, col(AuditSeal.event_id) == col(AuditEvent.id))
        .order_by(col(AuditUnsealed.event_id))
        .limit(most)
    )
    return list((await db.exec(statement)).all())


async def append(db: AsyncSession, seals: Sequence[AuditSeal], done: Sequence[UUID]) -> None:
    """Add seals to the chain; the events `done` wait no longer. Fails when another has appended meanwhile."""
    db.add_all(seals)
    await db.flush()
    await db.exec(delete(AuditUnsealed).where(col(AuditUnsealed.event_id).in_(done)))
