from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import Select

from app.core.sql import is_sqlite
from app.crud import purging
from app.models.known_device import KnownDevice
from app.models.user import User


class Account(NamedTuple):
    """Whose password is asked for, at an address."""

    id: UUID
    hashed_password: str
    is_active: bool
    knows_network: bool
    """Somebody signed in to it from the request's network, lately."""


async def account(db: AsyncSession, email: str, network: str, *, since: datetime) -> Account | None:
    """The account of a canonical address."""
    given = {"email": email, "network": network, "since": since}
    row = (await db.exec(account_statement(), params=given)).first()
    return Account(*row) if row else None


@lru_cache(maxsize=1)
def account_statement() -> Select[UUID, str, bool, bool]:
    """Takes `email`, `network` and `since`."""
    known = select(KnownDevice.user_id).where(
        KnownDevice.user_id == User.id,
        KnownDevice.network == bindparam("network"),
        col(KnownDevice.seen_at) > bindparam("since"),
    )
    columns = User.id, User.hashed_password, User.is_active, known.exists()
    return select(*columns).where(User.email == bindparam("email"))


async def any_of(db: AsyncSession, user_id: UUID) -> bool:
    statement = select(KnownDevice.network).where(KnownDevice.user_id == user_id).limit(1)
    return (await db.exec(statement)).first() is not None


async def seen_again(db: AsyncSession, device: KnownDevice) -> bool:
    """Write when the device was last seen; False when it never was."""
    moved = await db.exec(
        update(KnownDevice)
        .where(
            col(KnownDevice.user_id) == device.user_id,
            col(KnownDevice.network) == device.network,
            col(KnownDevice.agent) == device.agent,
        )
        .values(seen_at=device.seen_at)
        .execution_options(synchronize_session=False)
    )
    return bool(moved.rowcount)


async def add(db: AsyncSession, device: KnownDevice) -> bool:
    """Keep a device; False when somebody else just did."""
    make = sqlite_insert if is_sqlite(db) else postgresql_insert
    added = await db.exec(make(KnownDevice).values(**device.model_dump()).on_conflict_do_nothing())
    return bool(added.rowcount)


async def purge(db: AsyncSession, *, before: datetime) -> int:
    return await purging.purge(db, KnownDevice, col(KnownDevice.seen_at) < before)
