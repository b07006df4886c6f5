from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, or_
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import col, delete, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import db_now, is_sqlite
from app.crud import purging
from app.models.idempotency_key import IdempotencyKey

_id, _status, _lease = col(IdempotencyKey.id), col(IdempotencyKey.status), col(IdempotencyKey.lease_until)
_abandoned = and_(_status.is_(None), _lease < db_now())
"""Its request died before it answered."""


async def claim(db: AsyncSession, row: IdempotencyKey, *, lease: timedelta, before: datetime) -> bool:
    """Be the one that answers this caller's key on this route: the first, the first since `before`, or after one that
    died. The row becomes `row`, with its id, so that whoever was late finds its own gone.
    """
    values = {"lease_until": db_now(after=lease), "status": None, "headers": None, "answer": None, "user_id": None}
    values |= {name: getattr(row, name) for name in ("id", "created_at", "caller", "route", "key", "body")}
    make = sqlite_insert if is_sqlite(db) else postgresql_insert
    statement = make(IdempotencyKey).values(values)
    statement = statement.on_conflict_do_update(
        index_elements=["caller", "route", "key"],
        set_={name: statement.excluded[name] for name in values},
        where=or_(col(IdempotencyKey.created_at) <= before, _abandoned),
    )
    return (await db.exec(statement.returning(_id))).first() is not None


async def find(db: AsyncSession, row: IdempotencyKey, *, before: datetime) -> tuple[IdempotencyKey, bool] | None:
    """What stands under the caller's key, and whether it is still running; None when it may be claimed."""
    statement = select(IdempotencyKey, _status.is_(None)).where(
        IdempotencyKey.caller == row.caller,
        IdempotencyKey.route == row.route,
        IdempotencyKey.key == row.key,
        col(IdempotencyKey.created_at) > before,
        ~_abandoned,
    )
    return (await db.exec(statement)).first()


async def keep(db: AsyncSession, claim_id: UUID, **answer: Any) -> bool:
    """Keep the answer of a claim; False when the claim was lost to another request, past its lease."""
    statement = update(IdempotencyKey).where(_id == claim_id, _status.is_(None)).values(lease_until=None, **answer)
    return (await db.exec(statement.execution_options(synchronize_session=False))).rowcount == 1


async def release(db: AsyncSession, claim_id: UUID) -> None:
    """Forget a claim that came to no answer worth keeping."""
    await db.exec(delete(IdempotencyKey).where(_id == claim_id, _status.is_(None)))


async def purge(db: AsyncSession, *, before: datetime) -> int:
    """Delete what was claimed before that time."""
    return await purging.purge(db, IdempotencyKey, col(IdempotencyKey.created_at) < before)
