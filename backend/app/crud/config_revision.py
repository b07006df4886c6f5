from typing import Any

from sqlmodel import col, func, select, tuple_
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import is_sqlite
from app.crud.pages import page
from app.models.config_revision import ConfigRevision
from app.schemas.pages import Page, Window

OF_CONFIG = 0x6366  # the first half of the keys of our advisory locks
_key, _revision = col(ConfigRevision.key), col(ConfigRevision.revision)


async def current(db: AsyncSession) -> dict[str, Any]:
    """By key the value that is set; nothing where the last change cleared it."""
    return {key: row.after.get("value") for key, row in (await last_of_all(db)).items() if row.after is not None}


async def last_of_all(db: AsyncSession) -> dict[str, ConfigRevision]:
    """By key its last change."""
    newest = select(_key, func.max(_revision)).group_by(_key)
    rows = (await db.exec(select(ConfigRevision).where(tuple_(_key, _revision).in_(newest)))).all()
    return {row.key: row for row in rows}


async def last(db: AsyncSession, key: str) -> ConfigRevision | None:
    """The last change of the key."""
    statement = select(ConfigRevision).where(_key == key).order_by(_revision.desc()).limit(1)
    return (await db.exec(statement)).first()


async def one(db: AsyncSession, key: str, revision: int) -> ConfigRevision | None:
    return (await db.exec(select(ConfigRevision).where(_key == key, _revision == revision))).first()


async def hold(db: AsyncSession, key: str) -> None:
    """Wait for others who change this key, and keep them waiting until the commit. On SQLite one writes at a time."""
    if not is_sqlite(db):
        await db.exec(select(func.pg_advisory_xact_lock(OF_CONFIG, func.hashtext(key))))


async def add(db: AsyncSession, row: ConfigRevision) -> None:
    db.add(row)
    await db.flush()


async def history(db: AsyncSession, key: str, window: Window) -> Page[ConfigRevision]:
    """The changes of a key, the newest first."""
    return await page(db, select(ConfigRevision).where(_key == key), ConfigRevision.id, window)
