"""SQL that reads the same on SQLite and on PostgreSQL: keys, times, the database's clock, inserting what is new."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import uuid_utils
from sqlalchemy import ARRAY, Boolean, Column, DateTime, Dialect, Float, String, Uuid, bindparam, inspect, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

MEANT_HERE = "meant_here"
"""In a column's `info`: its values say something in this one database only, and a copy has this text in their place."""


def new_id() -> UUID:
    """A UUIDv7: in order of time, so that rows that were made together stand together. Source: RFC 9562."""
    return UUID(int=uuid_utils.uuid7().int)


def first_id(moment: datetime) -> UUID:
    """What no `new_id` of that moment or later is below."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


class UTCDateTime(TypeDecorator[datetime]):
    """An aware timestamp: `timestamptz` on PostgreSQL, text of fixed width (so that it sorts) on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(String(26) if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or isinstance(value, str):
            return value
        if value.tzinfo is None:
            raise ValueError("a naive datetime cannot be stored: make it aware, in UTC")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None).isoformat(" ", "microseconds") if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        if isinstance(value, str):
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        return value.astimezone(UTC) if value is not None else None


class db_now(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function that it is
    """The database's own clock, `after` from now. Leases and heartbeats use it, so that two machines agree.

    On PostgreSQL a query of its own, asked once a statement: what ticks within one can be looked up in no index.
    """

    type = UTCDateTime()
    inherit_cache = True

    def __init__(self, after: timedelta = timedelta(0)) -> None:

        super().__init__(bindparam(None, after.total_seconds(), type_=Float()))


@compiles(db_now, "postgresql")
def _now_postgresql(element: db_now, compiler: Any, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(SELECT clock_timestamp() + make_interval(secs => {seconds}))"


@compiles(db_now, "sqlite")
def _now_sqlite(element: db_now, compiler: Any, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(strftime('%Y-%m-%d %H:%M:%f', julianday('now') + ({seconds}) / 86400.0) || '000')"


class transaction_id(FunctionElement[int]):  # noqa: N801 - reads as the SQL function that it is
    """The writing transaction's id on PostgreSQL, 0 on SQLite, where rows become visible in the order of their ids."""

    inherit_cache = True


@compiles(transaction_id, "postgresql")
def _xid_postgresql(*_: Any, **__: Any) -> str:
    return "(pg_current_xact_id()::text::bigint)"


@compiles(transaction_id, "sqlite")
def _xid_sqlite(*_: Any, **__: Any) -> str:
    return "0"


class json_holds(FunctionElement[bool]):  # noqa: N801 - reads as the SQL function that it is
    """Whether a JSON list has a text among its elements: `json_holds(column, "admin")`."""

    type = Boolean()
    inherit_cache = True


@compiles(json_holds, "postgresql")
def _holds_postgresql(element: json_holds, compiler: Any, **kw: Any) -> str:
    column, value = (compiler.process(one, **kw) for one in element.clauses)
    return f"({column} ? {value})"


@compiles(json_holds, "sqlite")
def _holds_sqlite(element: json_holds, compiler: Any, **kw: Any) -> str:
    column, value = (compiler.process(one, **kw) for one in element.clauses)
    return f"({value} IN (SELECT value FROM json_each({column})))"  # noqa: S608 - both were compiled by SQLAlchemy


class _Ids(TypeDecorator[Sequence[UUID]]):
    """Ids as one value: an array on PostgreSQL, a JSON text on SQLite."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(String() if dialect.name == "sqlite" else ARRAY(Uuid()))

    def process_bind_param(self, value: Sequence[UUID] | None, dialect: Dialect) -> Any:
        return json.dumps([one.hex for one in value or ()]) if dialect.name == "sqlite" else value


class one_of(FunctionElement[bool]):  # noqa: N801 - reads as the SQL function that it is
    """Whether a column is one of these ids, as one parameter: `IN` with 500 costs four times the CPU, each time."""

    type = Boolean()
    inherit_cache = True

    def __init__(self, column: Any, ids: Sequence[UUID]) -> None:
        super().__init__(column, bindparam(None, list(ids), type_=_Ids()))


@compiles(one_of, "postgresql")
def _one_of_postgresql(element: one_of, compiler: Any, **kw: Any) -> str:
    column, ids = (compiler.process(one, **kw) for one in element.clauses)
    return f"({column} = ANY ({ids}))"


@compiles(one_of, "sqlite")
def _one_of_sqlite(element: one_of, compiler: Any, **kw: Any) -> str:
    column, ids = (compiler.process(one, **kw) for one in element.clauses)
    return f"({column} IN (SELECT value FROM json_each({ids})))"  # noqa: S608 - both were compiled by SQLAlchemy


MOST = 500  # ids asked for in one statement


def batched(ids: Iterable[UUID], most: int = MOST) -> Iterator[Sequence[UUID]]:
    """The ids in pieces, each for one statement."""
    left = list(ids)
    for start in range(0, len(left), most):
        yield left[start : start + most]


def is_sqlite(db: AsyncSession | AsyncEngine) -> bool:
    bind = db.get_bind() if isinstance(db, AsyncSession) else db
    return bind.dialect.name == "sqlite"


@cache
def columns_of(model: type[SQLModel]) -> dict[str, Column[Any]]:
    """The columns of a model's table by the names of its attributes."""
    return {one.key: one.columns[0] for one in inspect(model).column_attrs if isinstance(one.columns[0], Column)}


async def insert_new(db: AsyncSession, row: SQLModel, *, conflict: str, where: str | None = None) -> bool:
    """Insert `row` unless another has the same value in the unique column `conflict`; say whether it was inserted.

    `where` is the condition of the unique index in SQL, where it has one. What was never set is left to its default.
    Two that insert the same value at once: one wins, and the other's transaction stays usable.
    """
    columns, held = columns_of(type(row)), row.__dict__
    table = type(row).__table__  # type: ignore[attr-defined]  # SQLModel sets it on every table class
    make = sqlite_insert if is_sqlite(db) else postgresql_insert
    values = {column.key: held[name] for name, column in columns.items() if name in held}
    left = {name: column for name, column in columns.items() if name not in held}
    only = text(where) if where else None
    statement = make(table).values(values).on_conflict_do_nothing(index_elements=[conflict], index_where=only)
    found = (await db.exec(statement.returning(table.c[conflict], *left.values()))).first()
    if found is None:
        return False
    make_transient_to_detached(row)
    for name, value in zip(left, found[1:], strict=True):
        set_committed_value(row, name, value)
    db.add(row)
    return True
