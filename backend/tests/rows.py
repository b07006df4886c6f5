"""Rows made up from the types of the models: the same for the same seed, and each key names a row that is there."""

import random
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import AutoString, SQLModel

import app.models  # noqa: F401 - registers every table
from app.core.sql import UTCDateTime
from app.models import MailPurpose, TaskStatus

Row = dict[str, Any]
Value = Callable[[int], Any]
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
HARD = ("", "Grace “Hopper”", "O'Hara; --", "שלום", "😀\n\ttab", "\\N", "é" * 40)
HAS_ITS_ROW, TRIGGERS_FILL = "installation", "audit_unsealed"
PURPOSES = (MailPurpose.undo, MailPurpose.undo, MailPurpose.claim, MailPurpose.claim, MailPurpose.verify,
            MailPurpose.reset)  # fmt: skip
USUAL: Mapping[str, Value] = {
    "users.email": lambda n: f"user-{n}@example.com",
    "users.roles": lambda n: [["user"], ["user", "support"], []][n % 3],
    "users.locale": lambda n: ("en", "de")[n % 2],
    "background_tasks.status": lambda n: list(TaskStatus)[n % len(TaskStatus)],
    "background_tasks.priority": lambda n: n % 10,
    "mail_tokens.purpose": lambda n: PURPOSES[n % len(PURPOSES)],
}
"""By `table.column`, where a type does not say enough: the value in the row of that number."""


def make(
    rows: int,
    *,
    tables: Collection[str] = (),
    seed: int = 0,
    first: int = 0,
    given: Mapping[str, Value] | None = None,
) -> dict[str, list[Row]]:
    """So many rows of each table (or of these, and what they refer to is given), numbered from `first` on.

    Row n refers to row n of the other table, and its link to the row of half that number: two links an account.
    """
    chance, made = random.Random(seed), dict[str, list[Row]]()
    for table in SQLModel.metadata.sorted_tables:
        if table.name in (HAS_ITS_ROW, TRIGGERS_FILL) or (tables and table.name not in tables):
            continue
        made[table.name] = [
            {column.name: _value(column, n, chance, made, {**USUAL, **(given or {})}) for column in table.columns}
            for n in range(first, first + rows)
        ]
    return made


def insert(connection: sa.Connection, made: Mapping[str, list[Row]]) -> None:
    for name, rows in made.items():
        if rows:
            connection.execute(sa.insert(SQLModel.metadata.tables[name]), rows)


def _value(
    column: sa.Column[Any], n: int, chance: random.Random, made: Mapping[str, list[Row]], given: Mapping[str, Value]
) -> Any:
    named = f"{column.table.name}.{column.name}"
    if named in given:
        return given[named](n)
    if column.nullable and chance.random() < 0.2:
        return None
    if column.foreign_keys:
        refers = next(iter(column.foreign_keys)).column
        parents = made[refers.table.name]
        one = n // 2 if column.table.name == "mail_tokens" else n
        return parents[one % len(parents)][refers.name]
    return _of_type(column.type, n, chance)


def _of_type(kind: Any, n: int, chance: random.Random) -> Any:
    if isinstance(kind, sa.Uuid):
        return UUID(int=(n << 64) | chance.getrandbits(64), version=4)
    if isinstance(kind, UTCDateTime):
        return BEGAN + timedelta(seconds=n, microseconds=chance.randrange(1_000_000))
    if isinstance(kind, sa.Boolean):
        return chance.random() < 0.5
    if isinstance(kind, sa.Integer):
        return n + 1
    if isinstance(kind, sa.Float):
        return chance.choice((0.0, 0.25, 1.0))
    if isinstance(kind, sa.LargeBinary):
        return chance.randbytes(16)
    if isinstance(kind, sa.JSON):
        return {"number": n, "nested": [{"text": chance.choice(HARD)}, None, chance.choice((0.5, -1, True))]}
    if isinstance(kind, AutoString | sa.String):
        return f"{n} {chance.choice(HARD)}"[: kind.length]
    raise TypeError(f"how a value of {kind!r} is made up is not known")
