from datetime import datetime
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import is_sqlite
from app.crud import purging
from app.models.known_device import KnownDevice
from app.models.user import User


async def account_and_network(
    db: AsyncSession, email: str, network: str, *, since: datetime
) -> tuple[User, bool] | None:
    """The account of a canonical address, and whether it signed in from this network."""
    known = select(KnownDevice.user_id).where(
        KnownDevice.user_id == User.id, KnownDevice.network == network, col(KnownDevice.seen_at) > since
    )
    return (await db.exec(select(User, known.exists()).where(User.email == email))).first()


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
