from datetime import timedelta
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import col, delete, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import db_now, is_sqlite
from app.models.lease import Lease


async def take(db: AsyncSession, name: str, holder: UUID, *, span: timedelta) -> bool:
    """Hold the lease for `span` from now, by the database's clock; False while another holds it.

    Its row stays locked until the commit: of two that take it at once, the second waits for the first.
    """
    make = sqlite_insert if is_sqlite(db) else postgresql_insert
    new = {"holder": holder, "until": db_now(span)}
    statement = (
        make(Lease)
        .values(name=name, **new)
        .on_conflict_do_update(
            index_elements=["name"],
            set_=new,
            where=or_(col(Lease.holder) == holder, col(Lease.until) < db_now()),
        )
        .returning(col(Lease.name))
    )
    return (await db.exec(statement)).first() is not None


async def is_anothers(db: AsyncSession, name: str, me: UUID) -> bool:
    """Whether another holds the lease now."""
    statement = select(Lease.name).where(Lease.name == name, Lease.holder != me, col(Lease.until) >= db_now())
    return (await db.exec(statement)).first() is not None


async def give_up(db: AsyncSession, name: str, holder: UUID) -> None:
    await db.exec(delete(Lease).where(col(Lease.name) == name, col(Lease.holder) == holder))
