"""A SQLite database that is copied: read in one snapshot, and never written."""

import json
import sqlite3
import unicodedata
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from app.core.process import CannotRun
from app.tools.copying.lines import Lines, quoted, tables
from app.tools.copying.sqlite import SqliteRows, opened
from app.tools.copying.unfit import Unfit, is_usual, reasons, suspicion


@contextmanager
def snapshot(file: Path) -> Iterator["SqliteSource"]:
    """The database as it is now, whoever goes on writing it.

    Raises:
        CannotRun: there is no such database.
    """
    with opened(file, mode="ro") as connection:
        connection.create_function("is_usual", 3, is_usual, deterministic=True)
        connection.create_function("one_form", 1, _one_form, deterministic=True)
        connection.create_function("is_utf8", 1, _is_utf8, deterministic=True)
        connection.create_function("takes_json", 1, _takes_json, deterministic=True)
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the snapshot begins here
        except sqlite3.DatabaseError as error:
            raise CannotRun(f"{file} cannot be read as a SQLite database: {error}") from None
        yield SqliteSource(connection, file)


class SqliteSource(SqliteRows):
    """What is read of it, but for what is left out."""

    def __init__(self, connection: sqlite3.Connection, file: Path) -> None:
        super().__init__(connection, file)
        self._ask("CREATE TEMP TABLE left_out (name TEXT, row INTEGER, PRIMARY KEY (name, row)) WITHOUT ROWID")

    def _those(self, table: Lines) -> str:
        name = table.table.name.replace("'", "''")
        return f" WHERE rowid NOT IN (SELECT row FROM temp.left_out WHERE name = '{name}')"

    # --- what does not fit ------------------------------------------------------------------------------------------

    async def unfit(self) -> AsyncIterator[Unfit]:
        """Every row that would not fit, once for each reason."""
        for one, _ in self._unfit():
            yield one

    async def leave_out(self) -> AsyncIterator[tuple[Unfit, dict[str, Any]]]:
        """Have what does not fit, and what refers to it, not copied: each such row once, with its values."""
        for found in self._leave_out():
            yield found

    def _unfit(self) -> Iterator[tuple[Unfit, int]]:
        for table in tables():
            known = reasons(table)
            flags = ", ".join(f"({condition})" for _, condition in known)
            for row, key, *holds in self._ask(
                f"SELECT rowid, {_key(table)}, {flags} FROM {table.on} WHERE {suspicion(table)}"
            ):
                for (reason, _), held in zip(known, holds, strict=True):
                    if held:
                        yield Unfit(table.table.name, _text(key), reason), row
        yield from self._twins()
        yield from self._dangling()

    def _twins(self) -> Iterator[tuple[Unfit, int]]:
        """Addresses that differ by case alone: one account for the service, and two for SQLite."""
        ascii_ = "length(CAST(email AS BLOB)) = length(email)"
        form = f"CASE WHEN {ascii_} THEN lower(email) ELSE one_form(CAST(email AS BLOB)) END"
        of_several = f"SELECT {form} FROM users GROUP BY 1 HAVING count(*) > 1"
        for row, key in self._ask(f"SELECT rowid, id FROM users WHERE {form} IN ({of_several})"):
            yield Unfit("users", _text(key), "email: another row has it in another case"), row

    def _dangling(self) -> Iterator[tuple[Unfit, int]]:
        known = {table.table.name: table for table in tables()}
        for name, row, parent, _ in self._ask("PRAGMA foreign_key_check").fetchall():
            table = known.get(_text(name))
            if table is not None:
                reason = f"names a row of {_text(parent)} that is not there"
                yield Unfit(_text(name), self._key_of(table, row), reason), row

    def _leave_out(self) -> Iterator[tuple[Unfit, dict[str, Any]]]:
        known = {table.table.name: table for table in tables()}
        for one, row in list(self._unfit()):
            if self._add(one.table, row):
                yield one, self._values(known[one.table], row)
        for table in known.values():  # those that are referred to come first
            for key in sorted(table.table.foreign_keys, key=str):
                yield from self._follow(table, key)

    def _follow(self, table: Lines, key: sa.ForeignKey) -> Iterator[tuple[Unfit, dict[str, Any]]]:
        parent, name = key.column.table.name, table.table.name
        rows = self._ask(
            f"SELECT child.rowid FROM {quoted(name)} child"
            f" JOIN {quoted(parent)} parent ON parent.{quoted(key.column.name)} = child.{quoted(key.parent.name)}"
            " JOIN temp.left_out gone ON gone.name = ? AND gone.row = parent.rowid",
            parent,
        ).fetchall()
        for (row,) in rows:
            if self._add(name, row):
                reason = f"{key.parent.name}: the row of {parent} that it names is left out"
                yield Unfit(name, self._key_of(table, row), reason), self._values(table, row)

    def _add(self, table: str, row: int) -> bool:
        return self._ask("INSERT OR IGNORE INTO temp.left_out VALUES (?, ?)", table, row).rowcount == 1

    def _key_of(self, table: Lines, row: int) -> str:
        found = self._ask(f"SELECT {_key(table)} FROM {table.on} WHERE rowid = ?", row).fetchone()
        return _text(found[0])

    def _values(self, table: Lines, row: int) -> dict[str, Any]:
        """A row as it stands, bytes and what is no text in hexadecimal."""
        names = [column.name for column in table.table.columns]
        kinds = ", ".join(f"typeof({quoted(name)}), {quoted(name)}" for name in names)
        found = self._ask(f"SELECT {kinds} FROM {table.on} WHERE rowid = ?", row).fetchone()
        return {name: _shown(found[2 * at], found[2 * at + 1]) for at, name in enumerate(names)}


def _key(table: Lines) -> str:
    return " || ' ' || ".join(f"coalesce(CAST({quoted(name)} AS TEXT), 'NULL')" for name in table.key)


def _text(value: Any) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _shown(kind: bytes, value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    if kind == b"text" and _is_utf8(value):
        return value.decode()
    return {"hex": value.hex()}


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _one_form(email: bytes) -> str:
    return unicodedata.normalize("NFC", email.decode(errors="replace")).lower()


@lru_cache(maxsize=65_536)
def _takes_json(value: bytes | None) -> bool:
    """JSON as `jsonb` takes and keeps it: no NaN, no NUL, no half of a surrogate pair, and no key twice."""
    if value is None:
        return True
    try:
        text = value.decode()
        json.dumps(
            json.loads(text, parse_constant=_no_constant, object_pairs_hook=_each_once), ensure_ascii=False
        ).encode()
    except (ValueError, RecursionError):
        return False
    return "\\u0000" not in text.replace("\\\\", "")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)
