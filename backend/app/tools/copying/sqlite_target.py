"""A SQLite database that is filled, in transactions: what is interrupted has left nothing of its own."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from app.core.process import CannotRun
from app.tools.copying.lines import NULL, Lines, plain, quoted
from app.tools.copying.sqlite import SqliteRows, opened

WHOLE = range(-(2**63), 2**63)  # SQLite's own whole numbers


@asynccontextmanager
async def connected(file: Path) -> AsyncIterator["SqliteTarget"]:
    """The database.

    Raises:
        CannotRun: there is none.
    """
    with opened(file, mode="rw") as connection:
        yield SqliteTarget(connection, file)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class SqliteTarget(SqliteRows):
    """What is written to it, and read again."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """What is committed together."""
        try:
            self._ask("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise CannotRun(f"{self.name} is being written by somebody else: {error}") from None
        try:
            yield
        except BaseException:
            self._ask("ROLLBACK")
            raise
        self._ask("COMMIT")

    async def lock(self, tables: Sequence[Lines]) -> None:
        """Nothing more than the transaction does: there is one writer."""

    async def take_apart(self, tables: Sequence[Lines]) -> list[str]:
        """Take indexes and triggers off these tables. What makes them again."""
        made = []
        for one in tables:
            known = "SELECT type, name, sql FROM sqlite_master WHERE tbl_name = ? AND type IN ('index', 'trigger')"
            for kind, name, sql in self._ask(known, one.table.name).fetchall():
                if sql is not None:  # those of keys are part of the table
                    self._ask(f"DROP {bytes(kind).decode()} {quoted(bytes(name).decode())}")
                    made.append(bytes(sql).decode())
        return made

    async def empty(self, table: Lines) -> None:
        """Delete all rows of a table."""
        self._ask(f"DELETE FROM {table.on}")

    async def fill(self, table: Lines, chunks: AsyncIterator[Sequence[bytes]]) -> None:
        """Write rows as the service writes them."""
        names, marks = ", ".join(map(quoted, table.names)), ", ".join("?" * len(table.names))
        values = [_VALUES.get(kind, plain) for kind in map(_kind, table.columns)]
        statement = f"INSERT INTO {table.on} ({names}) VALUES ({marks})"
        async for lines in chunks:
            self._connection.executemany(statement, (_row(line, values) for line in lines))

    async def put_together(self, statements: Sequence[str], tables: Sequence[Lines], given: Mapping[str, int]) -> None:
        """Make again what was taken off, go on after numbers that were given, see that every reference leads somewhere.

        Raises:
            CannotRun: one does not.
        """
        for statement in statements:
            self._ask(statement)
        for one in tables:
            if await self.high_water(one) < (last := given.get(one.table.name, 0)):
                self._ask("DELETE FROM sqlite_sequence WHERE name = ?", one.table.name)
                self._ask("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", one.table.name, last)
            if self._ask(f"PRAGMA foreign_key_check({one.on})").fetchone():
                raise CannotRun(f"a row of {one.table.name} names one that is not there")


def _row(line: bytes, values: Sequence[Callable[[str], Any]]) -> list[Any]:
    return [
        None if field == NULL else value(field) for field, value in zip(line.decode().split("\t"), values, strict=True)
    ]


def _kind(column: sa.Column[Any]) -> type[Any] | None:
    """What a value is made of. All else is text, which a column of numbers takes for the number that it writes."""
    return next((kind for kind in _VALUES if isinstance(column.type, kind)), None)


def _bytes(field: str) -> bytes:
    return bytes.fromhex(field.removeprefix(r"\\x"))


def _document(field: str) -> str | int | float:
    """JSON as text; a bare number as that number, which such a column would else round in its own way."""
    text = plain(field)
    return _number(text) if text[:1].isdigit() or text[:1] == "-" else text


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() and int(text) in WHOLE else float(text)


_VALUES: dict[Any, Callable[[str], Any]] = {
    sa.LargeBinary: _bytes,
    sa.Float: float,
    sa.Numeric: _number,
    sa.JSON: _document,
}
