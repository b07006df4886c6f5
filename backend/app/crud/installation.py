from datetime import datetime

from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.installation import Installation


async def get(db: AsyncSession) -> Installation:
    return (await db.exec(select(Installation).execution_options(populate_existing=True))).one()


async def turn(db: AsyncSession, *, number: int, since: datetime, retired: dict[str, str]) -> bool:
    """Have `number` sign from now on; False when another turn was first."""
    turned = (
        update(Installation)
        .where(col(Installation.signing_number) == number - 1)
        .values(signing_number=number, signing_since=since, signing_retired=retired)
    )
    return (await db.exec(turned.execution_options(synchronize_session=False))).rowcount == 1


async def set_check(db: AsyncSession, digest: str) -> None:
    """Keep the digest of another secret."""
    changed = update(Installation).values(secret_check=digest)
    await db.exec(changed.execution_options(synchronize_session=False))
