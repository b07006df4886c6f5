"""What readiness asks the database."""

from sqlalchemy import column, table
from sqlalchemy.exc import DBAPIError
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import is_sqlite

_VERSIONS = table("alembic_version", column("version_num"))
_TABLE_MISSING = "42P01"  # PostgreSQL's code for it


async def ping(db: AsyncSession) -> None:
    """Ask for nothing: the answer says that the database answers."""
    await db.exec(select(1))


async def revision(db: AsyncSession) -> str | None:
    """The revision that the database is at; None when no migration has run."""
    try:
        return (await db.exec(select(_VERSIONS.c.version_num))).first()
    except DBAPIError as error:
        missing = getattr(error.orig, "sqlstate", None) == _TABLE_MISSING
        if missing or (is_sqlite(db) and "no such table" in str(error.orig)):
            return None
        raise
