"""The feed of changes: whatever changes what a token may do or what a profile answers writes a row, with the change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel import col, insert, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.sql import is_sqlite, transaction_id
from app.crud import purging
from app.models.change import Change

USER, SESSION, SIGNING = "user", "session", "signing"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader of the feed stands: the last id on SQLite, the oldest transaction still open on PostgreSQL."""

    at: int = 0


async def record(db: AsyncSession, topic: str, subject: UUID | str) -> None:
    await record_all(db, topic, [subject])


async def record_all(db: AsyncSession, topic: str, subjects: Sequence[UUID | str]) -> None:
    now, xid = utc_now(), transaction_id()
    rows = [{"topic": topic, "subject": str(subject), "xid": xid, "created_at": now} for subject in subjects]
    await db.exec(insert(Change).values(rows))


async def since(db: AsyncSession, place: Place) -> tuple[list[Change], Place]:
    """The rows committed since `place`, and the next place. On PostgreSQL a row may come twice, and none is missed.

    Ids are given out before the commit, so a reader that goes by `id >` steps over rows that commit late. What a
    snapshot could not see was written by a transaction not older than the oldest one open then.
    """
    if is_sqlite(db):
        rows = (await db.exec(select(Change).where(col(Change.id) > place.at).order_by(col(Change.id)))).all()
        return list(rows), Place(rows[-1].id or 0) if rows else place
    oldest_open = (await db.exec(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"))).scalar_one()  # type: ignore[call-overload]  # text() is outside SQLModel's overloads
    statement = select(Change).where(col(Change.xid) >= place.at).order_by(col(Change.id))
    return list((await db.exec(statement)).all()), Place(oldest_open)


async def purge(db: AsyncSession, *, before: datetime) -> int:
    return await purging.purge(db, Change, col(Change.created_at) < before)
