"""A PostgreSQL database that is copied: read in one snapshot, and never written."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import sqlalchemy as sa

from app.core.process import CannotRun
from app.tools.copying.lines import Lines, quoted, tables
from app.tools.copying.postgresql import PostgresqlRows, opened
from app.tools.copying.unfit import Unfit, reasons_of_postgresql

MOST_LEFT_OUT = 10_000  # rows of a table: their places are kept in memory, and named in each statement


@asynccontextmanager
async def snapshot(url: str) -> AsyncIterator["PostgresqlSource"]:
    """The database as it is now, whoever goes on writing it.

    Raises:
        CannotRun: it cannot be reached.
    """
    async with opened(url, "source") as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.fetchval("SELECT 1")  # the snapshot begins here
        yield PostgresqlSource(connection, url)


class PostgresqlSource(PostgresqlRows):
    """What is read of it, but for what is left out. Rows are known by their places, which hold in a snapshot."""

    def __init__(self, connection: asyncpg.Connection, url: str) -> None:
        super().__init__(connection, url)
        self._left_out: dict[str, set[str]] = {}

    def _those(self, table: Lines) -> str:
        places = self._left_out.get(table.table.name)
        return f" WHERE ctid <> ALL ({_array(places)})" if places else ""

    async def unfit(self) -> AsyncIterator[Unfit]:
        """Every row that would not fit, once for each reason."""
        for table in tables():
            async for one, _ in self._unfit(table):
                yield one

    async def leave_out(self) -> AsyncIterator[tuple[Unfit, dict[str, Any]]]:
        """Have what does not fit, and what refers to it, not copied: each such row once, with its values.

        Raises:
            CannotRun: it is more than `MOST_LEFT_OUT` of a table.
        """
        for table in tables():  # those that are referred to come first
            found = [one async for one in self._unfit(table)]
            for key in sorted(table.table.foreign_keys, key=str):
                found += [one async for one in self._follow(table, key)]
            left_out = self._left_out.setdefault(table.table.name, set())
            for one, place in found:
                if place in left_out:
                    continue
                left_out.add(place)
                if len(left_out) > MOST_LEFT_OUT:
                    raise CannotRun(f"more than {MOST_LEFT_OUT:,} rows of {one.table} would not fit: mend them first")
                row = await self._connection.fetchval(
                    f"SELECT to_json(t)::text FROM {table.on} t WHERE ctid = $1::text::tid", place
                )
                yield one, {"json": row}

    async def _unfit(self, table: Lines) -> AsyncIterator[tuple[Unfit, str]]:
        known = reasons_of_postgresql(table)
        if not known:
            return
        flags = ", ".join(f"coalesce({condition}, false)" for _, condition in known)
        wrong = " OR ".join(f"({condition})" for _, condition in known)
        query = f"SELECT ctid::text, {_key(table)}, {flags} FROM {table.on} WHERE {wrong}"
        async for place, key, *holds in self._connection.cursor(query):
            for (reason, _), held in zip(known, holds, strict=True):
                if held:
                    yield Unfit(table.table.name, key, reason), place

    async def _follow(self, table: Lines, key: sa.ForeignKey) -> AsyncIterator[tuple[Unfit, str]]:
        parent = key.column.table.name
        gone = self._left_out.get(parent)
        if not gone:
            return
        query = (
            f"SELECT ctid::text, {_key(table)} FROM {table.on} WHERE {quoted(key.parent.name)} IN"
            f" (SELECT {quoted(key.column.name)} FROM {quoted(parent)} WHERE ctid = ANY ({_array(gone)}))"
        )
        async for place, of in self._connection.cursor(query):
            yield (
                Unfit(table.table.name, of, f"{key.parent.name}: the row of {parent} that it names is left out"),
                place,
            )


def _array(places: set[str]) -> str:
    return "ARRAY[" + ", ".join(f"'{place}'" for place in sorted(places)) + "]::tid[]"


def _key(table: Lines) -> str:
    return "concat_ws(' ', " + ", ".join(f"{quoted(name)}::text" for name in table.key) + ")"
