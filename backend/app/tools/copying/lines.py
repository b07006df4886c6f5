"""A table's rows as lines of COPY text, by both engines, from the types of the models.

Source: PostgreSQL, COPY, "Text Format".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlmodel import AutoString, SQLModel

import app.models  # noqa: F401 - registers every table
from app.core.sql import MEANT_HERE, UTCDateTime

NULL = r"\N"
SEEDED = "installation"
"""The one table that a migrated database has a row in: the source's takes its place."""
_ESCAPES = {8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r"}
_TAB, MOST_ARGUMENTS = "\t", 100  # SQLite's functions take 127
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_WRITTEN = {92: r"\\", **{number: f"\\{letter}" for number, letter in _ESCAPES.items()}}
_MEANS = {letter: chr(number) for number, letter in _ESCAPES.items()}
_HARD: tuple[type[Any], ...] = (sa.JSON, sa.Float, sa.Numeric)
"""What the two engines write differently although it is the same: these stand last in a line (see `proof.py`)."""
_CLOCKS: tuple[type[Any], ...] = (sa.Date, sa.DateTime, sa.Time)
"""Without a time zone: SQLAlchemy writes these as texts of fixed width on SQLite."""


@dataclass(frozen=True)
class Lines:
    """How a table's rows are written."""

    table: sa.Table

    @cached_property
    def columns(self) -> list[sa.Column[Any]]:
        return sorted(self.table.columns, key=lambda column: isinstance(column.type, _HARD))

    @cached_property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @cached_property
    def hard(self) -> list[type[Any]]:
        """The types of those at the end."""
        return [
            next(kind for kind in (sa.JSON, sa.Float, sa.Numeric) if isinstance(one.type, kind))
            for one in self.columns
            if _is_hard(one)
        ]

    @cached_property
    def key(self) -> list[str]:
        return [column.name for column in self.table.primary_key.columns]

    @cached_property
    def of_sqlite(self) -> str:
        """The expression of a line. One call of a function puts it together: each `||` would copy all before it."""
        fields = [f"coalesce({_of_sqlite(one)}, '{NULL}')" for one in self.columns]
        parts = [fields[at : at + MOST_ARGUMENTS] for at in range(0, len(fields), MOST_ARGUMENTS)]
        return " || char(9) || ".join(f"printf('{_TAB.join(['%s'] * len(part))}', {', '.join(part)})" for part in parts)

    @cached_property
    def of_postgresql(self) -> str:
        """The columns, which COPY makes a line of."""
        return ", ".join(_of_postgresql(one) for one in self.columns)

    @cached_property
    def filled(self) -> str:
        """The expressions that count the values of each column."""
        return ", ".join(f"count({quoted(name)})" for name in self.names)

    def by_name(self, counts: Sequence[int]) -> dict[str, int]:
        return dict(zip(self.names, counts, strict=True))

    @property
    def on(self) -> str:
        """The table's name as SQL has it."""
        return quoted(self.table.name)


def tables() -> list[Lines]:
    """Every table, those that are referred to first."""
    return [Lines(table) for table in SQLModel.metadata.sorted_tables]


def _is_hard(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, _HARD)


def _of_sqlite(column: sa.Column[Any]) -> str:
    name, kind = quoted(column.name), column.type
    if MEANT_HERE in column.info:
        return f"'{column.info[MEANT_HERE]}'"
    if isinstance(kind, sa.LargeBinary):
        return rf"CASE WHEN {name} IS NOT NULL THEN '\\x' || lower(hex({name})) END"  # hex(NULL) is a text
    if isinstance(kind, sa.Float):
        return f"exactly({name})"
    if isinstance(kind, sa.Numeric):  # those that are whole stand there as whole numbers
        return f"CASE typeof({name}) WHEN 'real' THEN exactly({name}) ELSE CAST({name} AS TEXT) END"
    if isinstance(kind, (sa.Uuid, UTCDateTime, sa.Integer, sa.Boolean, *_CLOCKS)):
        return f"CAST({name} AS TEXT)"
    if isinstance(kind, (AutoString, sa.String, sa.JSON)):
        text = rf"replace({name}, '\', '\\')"
        for number, letter in _ESCAPES.items():
            text = rf"replace({text}, char({number}), '\{letter}')"
        # A text that JSON writes as it is, in quotes, has nothing to escape: that is found out in one quick look.
        text = f"CASE WHEN length(json_quote({name})) = length({name}) + 2 THEN {name} ELSE {text} END"
        if isinstance(kind, sa.JSON):  # SQLite keeps a document that is one number as a number
            return f"CASE typeof({name}) WHEN 'real' THEN exactly({name}) ELSE {text} END"
        return text
    raise TypeError(f"{column}: how {kind!r} is copied is not known")


def _of_postgresql(column: sa.Column[Any]) -> str:
    name, kind = quoted(column.name), column.type
    if MEANT_HERE in column.info:
        return f"'{column.info[MEANT_HERE]}'"
    if isinstance(kind, sa.Uuid):
        return f"replace({name}::text, '-', '')"
    if isinstance(kind, UTCDateTime):
        return f"to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    if isinstance(kind, sa.Boolean):
        return f"{name}::int"
    if isinstance(kind, sa.DateTime):
        return f"to_char({name}, 'YYYY-MM-DD HH24:MI:SS.US')"
    if isinstance(kind, sa.Time):
        return f"to_char(DATE '2000-01-01' + {name}, 'HH24:MI:SS.US')"
    return name


def plain(field: str) -> str:
    """A field of a line as the text that it stands for. It is not NULL."""
    return _ESCAPED.sub(lambda found: _MEANS.get(found[1], found[1]), field) if "\\" in field else field


def escaped(text: str) -> str:
    """A text as a field of a line."""
    return text.translate(_WRITTEN)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
