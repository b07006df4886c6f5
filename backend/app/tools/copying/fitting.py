"""Whether a source is one of this code, and how it is told that the copying stopped."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from app.core.process import CannotRun
from app.tools import migrate
from app.tools.copying.ends import Source
from app.tools.copying.lines import tables
from app.tools.copying.reflected import VERSIONS
from app.tools.copying.unfit import Unfit


async def at_head(source: Source) -> None:
    """
    Raises:
        CannotRun: the source is at another revision than this code, or lacks what that has.
    """
    found, head = await source.revision(), migrate.head()
    if found != head:
        raise CannotRun(f"the source is at revision {found or 'none'}, not {head}: upgrade it first")
    there = await source.columns()
    for one in tables():
        if missing := set(one.names) - there.get(one.table.name, set()):
            raise CannotRun(f"the source lacks {one.table.name}.{min(missing)}, although it is at revision {head}")


async def unknown(source: Source) -> AsyncIterator[Unfit]:
    """What the source has and the models do not: nothing of that would be copied."""
    known = {one.table.name: set(one.names) for one in tables()}
    for table, columns in sorted((await source.columns()).items()):
        if table == VERSIONS:
            continue
        if table not in known:
            yield Unfit(table, "", "the models have no such table: its rows would stay behind")
        else:
            for column in sorted(columns - known[table]):
                yield Unfit(table, "", f"the models have no column {column}: its values would stay behind")


@asynccontextmanager
async def told() -> AsyncIterator[None]:
    """What a database says against a copy, in one line. What was not committed is undone.

    Raises:
        CannotRun: it has said something.
    """
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, sqlite3.Error) as error:
        raise CannotRun(f"the copying stopped, and what was not committed is undone: {error}") from None
