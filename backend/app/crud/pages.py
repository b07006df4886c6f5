"""Lists, a page at a time, newest first by the id, which is a UUIDv7: what is added or goes moves no other row."""

from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy.orm import defer, load_only
from sqlalchemy.sql.base import ExecutableOption
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from app.models.base import Table
from app.schemas.pages import Page, Window

Row = TypeVar("Row", bound=Table)


def only(*columns: Any) -> ExecutableOption:
    """Read these columns of the row and its key: another one that is asked of it raises."""
    return load_only(*columns, raiseload=True)


def without(column: Any) -> ExecutableOption:
    """Read all of the row but this column, which raises."""
    return defer(column, raiseload=True)


async def page(db: AsyncSession, statement: SelectOfScalar[Row], by: UUID, window: Window) -> Page[Row]:
    """The part of `statement` that `window` asks for, by the id column `by`.

    It asks for one row more than it gives, so that the last page knows that it is the last.
    """
    if window.before is not None:
        statement = statement.where(col(by) < window.before)
    rows = (await db.exec(statement.order_by(col(by).desc()).limit(window.limit + 1))).all()
    items = list(rows[: window.limit])
    more = len(rows) > window.limit
    return Page.model_construct(items=items, next_cursor=window.cursor(items[-1].id) if more else None)
