"""What may stand in one engine and not in the other, or not in the service on it: as conditions on a table's columns.

SQLite takes any value in any column and looks at no length. PostgreSQL knows times and numbers that SQLite does not.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlmodel import AutoString

from app.core.sql import UTCDateTime
from app.models.user import User
from app.tools.copying.lines import Lines, quoted

_DIGIT = "[0-9]"
_TIME = "-".join((_DIGIT * 4, _DIGIT * 2, _DIGIT * 2)) + " " + ":".join((_DIGIT * 2,) * 3) + "." + _DIGIT * 6
_OTHER_FORM = (  # SQLite's own lower() knows no letters but those of ASCII
    "email <> lower(email) OR length(CAST(email AS BLOB)) <> length(email) AND email <> one_form(CAST(email AS BLOB))"
)
MOST = 2**31  # characters, where a column says no other number
_USUAL_KEYS = re.compile(rb"[0-9a-f]*").fullmatch
_USUAL_TIMES = re.compile(
    rb"(?:(?!0000)\d{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?!02)(?:0[1-9]|1[0-2])-(?:29|30))"
    rb" (?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{6})*"
).fullmatch


@dataclass(frozen=True)
class Unfit:
    """A row that would not fit, and why."""

    table: str
    key: str
    reason: str

    def json(self, **more: Any) -> str:
        return json.dumps({**asdict(self), **more}, ensure_ascii=False)


def reasons(table: Lines) -> list[tuple[str, str]]:
    """What may be wrong with a row of SQLite, and the condition in its SQL that says so."""
    found = []
    for column in table.columns:
        name = quoted(column.name)
        if not column.nullable:
            found.append((f"{column.name}: there is none", f"{name} IS NULL"))
        for reason, condition in _of(column.type, name):
            found.append((f"{column.name}: {reason}", f"{name} IS NOT NULL AND ({condition})"))
    return [*found, *_of_addresses(table, _OTHER_FORM)]


def reasons_of_postgresql(table: Lines) -> list[tuple[str, str]]:
    """What may be wrong with a row of PostgreSQL, and the condition in its SQL that says so."""
    found = []
    for column in table.columns:
        name = quoted(column.name)
        if isinstance(column.type, (UTCDateTime, sa.DateTime, sa.Date)):
            out = f"NOT isfinite({name}) OR {name} < '0001-01-01' OR {name} >= '10000-01-01'"
            found.append((f"{column.name}: out of range", out))
        elif isinstance(column.type, (sa.Float, sa.Numeric)):
            odd = f"{name} IN ('NaN', 'Infinity', '-Infinity')"
            found.append((f"{column.name}: no number that SQLite knows", odd))
    return [*found, *_of_addresses(table, "email <> lower(email)")]


def _of_addresses(table: Lines, other: str) -> list[tuple[str, str]]:
    """With a condition that holds for an address in another form than the one that the service gives it."""
    if table.table.name != User.__tablename__:
        return []
    return [("email: not in its one form, lower-case", f"email IS NOT NULL AND ({other})")]


def suspicion(table: Lines) -> str:
    """A condition that holds for every row for which one of `reasons` does, and takes one quick look at each row.

    It asks `is_usual` once for all keys, times and texts of a row; what else there is to them is their lengths.
    """
    keys, times, texts, found = [], [], [], []
    for column in table.columns:
        name = quoted(column.name)
        if not column.nullable:
            found.append(f"{name} IS NULL")
        if isinstance(column.type, sa.Uuid):
            keys.append(name)
            found.append(f"typeof({name}) <> 'text' AND {name} IS NOT NULL OR length({name}) <> 32")
        elif isinstance(column.type, UTCDateTime):
            times.append(name)
            found.append(f"typeof({name}) <> 'text' AND {name} IS NOT NULL OR length({name}) <> 26")
        elif isinstance(column.type, AutoString):
            texts.append(name)
            most = column.type.length or MOST
            found.append(f"typeof({name}) <> 'text' AND {name} IS NOT NULL OR length({name}) > {most}")
        else:
            found += [f"{name} IS NOT NULL AND ({condition})" for _, condition in _of(column.type, name)]
    found += [condition for _, condition in _of_addresses(table, _OTHER_FORM)]
    looked_at = ", ".join(_together(some) for some in (keys, times, texts))
    return " OR ".join([*(f"({one})" for one in found), f"NOT is_usual({looked_at})"])


def _together(names: list[str]) -> str:
    written = " || ".join(f"coalesce({name}, '')" for name in names)
    return f"CAST({written or repr('')} AS BLOB)"


def is_usual(keys: bytes, times: bytes, texts: bytes) -> bool:
    """Whether these, each of one row and written together, are surely as they have to be."""
    if _USUAL_KEYS(keys) is None or _USUAL_TIMES(times) is None or b"\0" in texts:
        return False
    try:
        texts.decode()
    except UnicodeDecodeError:
        return False
    return True


def _of(kind: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(kind, sa.Uuid):
        yield (
            "no UUID of 32 hexadecimal digits",
            (f"typeof({name}) <> 'text' OR length({name}) <> 32 OR {name} GLOB '*[^0-9a-f]*'"),
        )
    elif isinstance(kind, (UTCDateTime, sa.DateTime)):
        day, clock = f"substr({name}, 1, 10)", f"substr({name}, 12, 8)"
        wrong = (
            f"typeof({name}) <> 'text'",
            f"{name} NOT GLOB '{_TIME}'",
            f"{name} < '0001'",
            f"date({day}, '+0 days') IS NOT {day}",
            f"{clock} > '24' OR time({clock}) IS NULL",
        )
        yield "no time, or out of range", " OR ".join(wrong)
    elif isinstance(kind, sa.Date):
        odd = f"typeof({name}) <> 'text' OR {name} < '0001' OR date({name}, '+0 days') IS NOT {name}"
        yield "no date, or out of range", odd
    elif isinstance(kind, sa.Time):
        yield "no time of day", f"typeof({name}) <> 'text' OR length({name}) <> 15 OR time({name}) IS NULL"
    elif isinstance(kind, sa.Boolean):
        yield "neither 0 nor 1", f"typeof({name}) <> 'integer' OR {name} NOT IN (0, 1)"
    elif isinstance(kind, sa.Integer):
        yield "no whole number", f"typeof({name}) <> 'integer'"
        if not isinstance(kind, sa.BigInteger):  # SQLite's own numbers have 64 bits
            most = 2 ** (15 if isinstance(kind, sa.SmallInteger) else 31)
            yield "out of range", f"typeof({name}) = 'integer' AND {name} NOT BETWEEN {-most} AND {most - 1}"
    elif isinstance(kind, (sa.Float, sa.Numeric)):
        yield "no number", f"typeof({name}) NOT IN ('real', 'integer')"
        if isinstance(kind, sa.Numeric):
            yield "no finite number", f"abs({name}) > {sys.float_info.max}"
            if kind.precision is not None:
                most, digits = 10 ** (kind.precision - (kind.scale or 0)), kind.scale or 0
                yield (
                    f"more than {kind.precision} digits",
                    f"abs({name}) >= {most} OR round({name}, {digits}) <> {name}",
                )
    elif isinstance(kind, sa.LargeBinary):
        yield "no bytes", f"typeof({name}) <> 'blob'"
    elif isinstance(kind, sa.JSON):
        yield "no text", f"typeof({name}) NOT IN ('text', 'integer', 'real')"
        yield "no JSON that PostgreSQL takes", f"typeof({name}) = 'text' AND NOT takes_json(CAST({name} AS BLOB))"
    else:
        yield "no text", f"typeof({name}) <> 'text'"
        yield "has a NUL character", f"instr(CAST({name} AS BLOB), x'00')"
        yield "no UTF-8", f"typeof({name}) = 'text' AND NOT is_utf8(CAST({name} AS BLOB))"
        if isinstance(kind, sa.Enum):
            names = ", ".join("'" + one.replace("'", "''") + "'" for one in kind.enums if one)
            yield "none of its values", f"typeof({name}) = 'text' AND {name} NOT IN ({names})"
        elif kind.length:
            yield f"longer than {kind.length} characters", f"typeof({name}) = 'text' AND length({name}) > {kind.length}"
