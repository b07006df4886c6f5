"""The database: one engine a process, sessions, and the few places where SQLite and PostgreSQL differ."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import uuid_utils
from sqlalchemy import DateTime, Dialect, Float, String, bindparam, event, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import ORMExecuteState, Session, make_transient_to_detached
from sqlalchemy.pool import PoolResetState
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config import settings

SQLITE_BUSY = timedelta(seconds=15)  # how long a writer waits for the other processes that write the same file
STATEMENT_TIMEOUT = timedelta(seconds=30)
CONNECT_TIMEOUT = timedelta(seconds=3)
POOL_TIMEOUT = timedelta(seconds=4)


def new_id() -> UUID:
    """A UUIDv7: in order of time, so that rows that were made together stand together. Source: RFC 9562."""
    return UUID(int=uuid_utils.uuid7().int)


# --- what differs between the engines -------------------------------------------------------------------------------


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
        return value.strftime("%Y-%m-%d %H:%M:%S.%f") if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        if isinstance(value, str):
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        return value.astimezone(UTC) if value is not None else None


class db_now(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function that it is
    """The database's own clock, `after` from now. Leases and heartbeats use it, so that two machines agree."""

    type = UTCDateTime()
    inherit_cache = True

    def __init__(self, after: timedelta = timedelta(0)) -> None:

        super().__init__(bindparam(None, after.total_seconds(), type_=Float()))


@compiles(db_now, "postgresql")
def _now_postgresql(element: db_now, compiler: Any, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"


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


def is_sqlite(db: AsyncSession | AsyncEngine) -> bool:
    bind = db.get_bind() if isinstance(db, AsyncSession) else db
    return bind.dialect.name == "sqlite"


# --- engines --------------------------------------------------------------------------------------------------------


def driver_url(url: str) -> URL:
    """`url` with our asynchronous driver, and libpq's `sslmode` in the driver's words."""
    parsed = make_url(url)
    if parsed.drivername.startswith("sqlite"):
        return parsed.set(drivername="sqlite+aiosqlite")
    query = {("ssl" if key == "sslmode" else key): value for key, value in parsed.query.items()}
    return parsed.set(drivername="postgresql+asyncpg", query=query)


def build_engine(url: str, *, pool_size: int | None = None) -> AsyncEngine:
    """An engine with our time limits. A SQLite one is ready for several processes that write one file."""
    target = driver_url(url)
    sqlite = target.drivername.startswith("sqlite")
    connect_args: dict[str, Any] = {"timeout": SQLITE_BUSY.total_seconds()}
    if not sqlite:
        connect_args = {
            "timeout": CONNECT_TIMEOUT.total_seconds(),
            "command_timeout": STATEMENT_TIMEOUT.total_seconds(),
            "server_settings": {
                "application_name": "neoforge",
                "statement_timeout": _milliseconds(STATEMENT_TIMEOUT),
                "idle_in_transaction_session_timeout": _milliseconds(STATEMENT_TIMEOUT),
            },
        }
    engine = create_async_engine(
        target,
        connect_args=connect_args,
        pool_size=pool_size or settings.db_pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT.total_seconds(),
        pool_use_lifo=True,
        hide_parameters=True,
        echo=settings.debug,
    )
    if sqlite:
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        event.listen(engine.sync_engine, "reset", _end_sqlite)
    return engine


def _milliseconds(span: timedelta) -> str:
    return str(int(span.total_seconds() * 1000))


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN is off: it comes late and is never IMMEDIATE
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        f"busy_timeout = {_milliseconds(SQLITE_BUSY)}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """A reader begins plainly; a writer takes the write lock at once, since upgrading later fails under contention."""
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _end_sqlite(connection: Any, _: Any, state: PoolResetState) -> None:
    """SQLite keeps a transaction open whose COMMIT failed; SQLAlchemy takes it for ended. No connection is kept so."""
    if state.asyncio_safe and connection.driver_connection.in_transaction:
        connection.rollback()


@lru_cache(maxsize=1)
def _engines(_process: int) -> tuple[AsyncEngine, AsyncEngine, AsyncEngine]:
    """One pool under three names: for units of work, for transactions that read, for single statements that read."""
    engine = build_engine(settings.database_url)
    single = {"read_only": True} if is_sqlite(engine) else {"isolation_level": "AUTOCOMMIT"}
    return engine, engine.execution_options(read_only=True), engine.execution_options(**single)


def engine() -> AsyncEngine:
    """This process's engine. A forked process gets its own."""
    return _engines(os.getpid())[0]


async def dispose() -> None:
    """Close this process's connections; the next use opens new ones."""
    await engine().dispose()
    _engines.cache_clear()


# --- sessions -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def new_session(*, read_only: bool = False) -> AsyncIterator[AsyncSession]:
    """A session that ends with the block and rolls back what was not committed."""
    async with AsyncSession(_engines(os.getpid())[1 if read_only else 0], expire_on_commit=False) as db:
        yield db


@asynccontextmanager
async def reading() -> AsyncIterator[AsyncConnection]:
    """A connection for one statement that only reads: PostgreSQL is asked without BEGIN and COMMIT around it."""
    async with _engines(os.getpid())[2].connect() as connection:
        yield connection


@asynccontextmanager
async def released(db: AsyncSession) -> AsyncIterator[None]:
    """Give the connection back while something slow runs. What was read stays readable, but is detached.

    Raises:
        RuntimeError: the transaction has changed something, which would be lost.
    """
    if db.new or db.dirty or db.deleted or db.info.get("wrote"):
        raise RuntimeError("released() with changes in the transaction: they would be lost")
    await db.close()
    yield


@event.listens_for(Session, "after_flush")
def _flushed(session: Session, _: Any) -> None:
    session.info["wrote"] = True


@event.listens_for(Session, "do_orm_execute")
def _executed(state: ORMExecuteState) -> None:
    if not state.is_select:
        state.session.info["wrote"] = True


@event.listens_for(Session, "after_transaction_end")
def _ended(session: Session, transaction: Any) -> None:
    if transaction.parent is None:
        session.info.pop("wrote", None)


async def insert_new(db: AsyncSession, row: SQLModel, *, conflict: str) -> bool:
    """Insert `row` unless another has the same value in the unique column `conflict`; say whether it was inserted.

    Two that insert the same value at once: one wins, and the other's transaction stays usable.
    """
    table = type(row).__table__  # type: ignore[attr-defined]  # SQLModel sets it on every table class
    make = sqlite_insert if is_sqlite(db) else postgresql_insert
    values = {column.key: getattr(row, column.key) for column in table.columns}
    statement = make(table).values(values).on_conflict_do_nothing(index_elements=[conflict]).returning(table.c.id)
    if (await db.exec(statement)).first() is None:
        return False
    make_transient_to_detached(row)
    db.add(row)
    return True


OnCommit = Callable[[], Any]


def on_commit(db: AsyncSession, key: str, action: OnCommit) -> None:
    """Have the owner of the transaction start `action` once it has committed. One action a key; rollback forgets it.

    For what may be lost, such as waking the relay or dropping a cache entry: a promise is a row instead.
    """
    db.info.setdefault("on_commit", {})[key] = action


def take_on_commit(db: AsyncSession) -> list[OnCommit]:
    """The actions to start now that the transaction has committed."""
    return list(db.info.pop("on_commit", {}).values())


def is_unavailable(error: BaseException) -> bool:
    """Whether `error` says that the database cannot be used now (away, too busy, a deadlock), and not that we erred."""
    if isinstance(error, (PoolTimeout, ConnectionError, TimeoutError)):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None) or ""
    gone = error.connection_invalidated or isinstance(error, (InterfaceError, OperationalError))
    return gone or state[:2] in {"08", "53", "57", "40"} or state == "55P03"


async def installation_id() -> str:
    """Which installation this database is, as 12 hexadecimal digits: the end of its UUIDv7, which is random."""
    async with engine().connect() as connection:
        uid = (await connection.execute(text("SELECT uid FROM installation"))).scalar_one()
        return UUID(str(uid)).hex[-12:]
