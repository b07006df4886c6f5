"""What may stand in SQLite and not in PostgreSQL, or not in the service on it: as conditions on a table's columns.

SQLite takes any value in any column and looks at no length.
"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlmodel import AutoString

from app.core.sql import UTCDateTime
from app.models.user import User
from app.tools.copying.lines import Lines, quoted

_DIGIT = "[0-9]"
_TIME = "-".join((_DIGIT * 4, _DIGIT * 2, _DIGIT * 2)) + " " + ":".join((_DIGIT * 2,) * 3) + "." + _DIGIT * 6


def reasons(table: Lines) -> list[tuple[str, str]]:
    """What may be wrong with a row, and the condition in SQLite's SQL that says so."""
    found = []
    for column in table.columns:
        name = quoted(column.name)
        if not column.nullable:
            found.append((f"{column.name}: there is none", f"{name} IS NULL"))
        for reason, condition in _of(column.type, name):
            found.append((f"{column.name}: {reason}", f"{name} IS NOT NULL AND ({condition})"))
    if table.table.name == User.__tablename__:
        found.append(("email: not in its one form, lower-case", "email IS NOT NULL AND email <> lower(email)"))
    return found


def suspicion(table: Lines) -> str:
    """A condition that holds for every row for which one of `reasons` does, and takes one look at each row."""
    texts = [quoted(column.name) for column in table.columns if isinstance(column.type, AutoString)]
    cheap = [condition for _, condition in reasons(table) if "is_utf8" not in condition]
    whole = " || ".join(f"coalesce({name}, '')" for name in texts)
    return " OR ".join([*(f"({one})" for one in cheap), *([f"NOT is_utf8(CAST({whole} AS BLOB))"] if texts else [])])


def _of(kind: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(kind, sa.Uuid):
        yield (
            "no UUID of 32 hexadecimal digits",
            (f"typeof({name}) <> 'text' OR length({name}) <> 32 OR {name} GLOB '*[^0-9a-f]*'"),
        )
    elif isinstance(kind, UTCDateTime):
        day, clock = f"substr({name}, 1, 10)", f"substr({name}, 12, 8)"
        wrong = (
            f"typeof({name}) <> 'text'",
            f"{name} NOT GLOB '{_TIME}'",
            f"{name} < '0001'",
            f"date({day}, '+0 days') IS NOT {day}",
            f"{clock} > '24' OR time({clock}) IS NULL",
        )
        yield "no time, or out of range", " OR ".join(wrong)
    elif isinstance(kind, sa.Boolean):
        yield "neither 0 nor 1", f"typeof({name}) <> 'integer' OR {name} NOT IN (0, 1)"
    elif isinstance(kind, sa.Integer):
        yield "no whole number", f"typeof({name}) <> 'integer'"
        if not isinstance(kind, sa.BigInteger):  # SQLite's own numbers have 64 bits
            yield "out of range", f"typeof({name}) = 'integer' AND {name} NOT BETWEEN -2147483648 AND 2147483647"
    elif isinstance(kind, sa.Float):
        yield "no number", f"typeof({name}) NOT IN ('real', 'integer')"
    elif isinstance(kind, sa.LargeBinary):
        yield "no bytes", f"typeof({name}) <> 'blob'"
    elif isinstance(kind, sa.JSON):
        yield "no text", f"typeof({name}) NOT IN ('text', 'integer', 'real')"
        yield "no JSON that PostgreSQL takes", f"typeof({name}) = 'text' AND NOT takes_json(CAST({name} AS BLOB))"
    else:
        yield "no text", f"typeof({name}) <> 'text'"
        yield "has a NUL character", f"instr(CAST({name} AS BLOB), x'00')"
        yield "no UTF-8", f"typeof({name}) = 'text' AND NOT is_utf8(CAST({name} AS BLOB))"
        if kind.length:
            yield f"longer than {kind.length} characters", f"typeof({name}) = 'text' AND length({name}) > {kind.length}"
