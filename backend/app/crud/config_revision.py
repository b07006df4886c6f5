from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, func, select, tuple_
from sqlmodel.ext.asyncio.session import AsyncSession

from app.crud.pages import page
from app.models.config_revision import ConfigRevision
from app.schemas.pages import Page, Window

_key, _revision = col(ConfigRevision.key), col(ConfigRevision.revision)


async def current(db: AsyncSession) -> dict[str, Any]:
    """By key the value that is set; nothing where the last change cleared it."""
    return {key: row.after["value"] for key, row in (await last_of_all(db)).items() if row.after is not None}


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


async def add(db: AsyncSession, row: ConfigRevision) -> bool:
    """Add the change; False when somebody else made that revision."""
    try:
        async with db.begin_nested():
            db.add(row)
    except IntegrityError:
        return False
    return True


async def history(db: AsyncSession, key: str, window: Window) -> Page[ConfigRevision]:
    """The changes of a key, the newest first."""
    return await page(db, select(ConfigRevision).where(_key == key), ConfigRevision.id, window)
