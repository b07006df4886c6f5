"""A SQLite database, read as lines."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app.core.process import CannotRun
from app.tools.copying.ahead import in_thread
from app.tools.copying.lines import Lines

AT_ONCE, FEW = 2_000, 16  # lines
LARGE = 1_000_000  # bytes
BUSY = 15.0  # seconds that it waits for a writer


@contextmanager
def opened(file: Path, *, mode: str) -> Iterator[sqlite3.Connection]:
    """A connection that gives text as bytes. `mode`: `ro` or `rw`.

    Raises:
        CannotRun: there is no such database.
    """
    if not file.is_file():
        raise CannotRun(f"there is no SQLite database {file}")
    url = f"file:{quote(str(file.resolve()))}?mode={mode}"
    with closing(
        sqlite3.connect(url, uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False)
    ) as connection:
        connection.text_factory = bytes
        connection.create_function("exactly", 1, _exactly, deterministic=True)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as error:
            raise CannotRun(f"{file} cannot be read as a SQLite database: {error}") from None
        yield connection


class SqliteRows:
    """What is read of it."""

    def __init__(self, connection: sqlite3.Connection, file: Path) -> None:
        self._connection = connection
        self.name = str(file)

    async def revision(self) -> str | None:
        """The revision of its schema: empty where it has no table at all, None where it has others' alone."""
        if not self._ask("SELECT count(*) FROM sqlite_master WHERE name NOT LIKE 'sqlite%'").fetchone()[0]:
            return ""
        try:
            found = self._ask("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
        return bytes(found[0]).decode() if found else None

    async def columns(self) -> dict[str, set[str]]:
        """The columns of every table."""
        query = (
            "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c"
            " WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%'"
        )
        found: dict[str, set[str]] = {}
        for table, column in self._ask(query):
            found.setdefault(bytes(table).decode(), set()).add(bytes(column).decode())
        return found

    async def high_water(self, table: Lines) -> int:
        """The highest number that its sequence has given; 0 where it has none."""
        if not self._ask("SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone()[0]:
            return 0
        found = self._ask("SELECT seq FROM sqlite_sequence WHERE name = ?", table.table.name).fetchone()
        return int(found[0]) if found else 0

    async def number(self, table: Lines) -> int:
        """How many rows a table has."""
        return int(self._ask(f"SELECT count(*) FROM {table.on}").fetchone()[0])

    async def filled(self, table: Lines) -> dict[str, int]:
        """How many rows have a value, column by column, as SQL counts them: no line is made for that."""
        return table.by_name(self._ask(f"SELECT {table.filled} FROM {table.on}{self._those(table)}").fetchone())

    async def lines(self, table: Lines) -> AsyncIterator[list[bytes]]:
        """Its rows, some at a time."""
        cursor = self._ask(f"SELECT {table.of_sqlite} FROM {table.on}{self._those(table)}")
        while some := await in_thread(_lines, cursor):
            yield some

    def _those(self, table: Lines) -> str:  # noqa: ARG002 - for a source, which leaves some out
        return ""

    def _ask(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)


def _lines(cursor: sqlite3.Cursor) -> list[bytes]:
    """Up to `AT_ONCE` lines, and fewer of large ones."""
    lines: list[bytes] = []
    size = 0
    while size < LARGE and len(lines) < AT_ONCE and (some := cursor.fetchmany(FEW)):
        found = [line for (line,) in some]
        lines += found
        size += sum(map(len, found))
    return lines


def _exactly(value: float | None) -> str | None:
    """A number so that it is read as the same one again; SQLite's own text of it is near it."""
    return None if value is None else repr(value)
