"""Deleting what is past its time, in portions: no statement holds locks, or SQLite's one writer, for long."""

from typing import Any

from sqlalchemy import ColumnElement, inspect, tuple_
from sqlmodel import SQLModel, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

PORTION = 1_000  # rows


async def purge(db: AsyncSession, model: type[SQLModel], *where: ColumnElement[bool], most: int = PORTION) -> int:
    """Delete rows of that model, `most` of them at most; how many went. As many as `most`: there may be more."""
    key: Any = inspect(model).primary_key
    chosen = select(*key).where(*where).limit(most)
    return (await db.exec(delete(model).where(tuple_(*key).in_(chosen), *where))).rowcount
