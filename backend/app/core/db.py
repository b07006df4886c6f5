"""The database: one engine a process, sessions, and the few places where SQLite and PostgreSQL differ."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any
from uuid import UUID

from sqlalchemy import event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.orm import ORMExecuteState, Session
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core import tls
from app.core.config import settings
from app.core.sql import is_sqlite

SQLITE_BUSY = timedelta(seconds=15)  # how long a writer waits for the other processes that write the same file
STATEMENT_TIMEOUT = timedelta(seconds=30)
LOCK_TIMEOUT = timedelta(seconds=3)  # what a transaction waits for another
CONNECT_TIMEOUT = timedelta(seconds=3)
POOL_TIMEOUT = timedelta(seconds=4)


# --- engines --------------------------------------------------------------------------------------------------------


def driver_url(url: str) -> URL:
    """`url` with our asynchronous driver, without libpq's words on TLS, which `build_engine` says in the driver's."""
    parsed = make_url(url)
    if parsed.drivername.startswith("sqlite"):
        return parsed.set(drivername="sqlite+aiosqlite")
    query = {key: value for key, value in parsed.query.items() if not key.startswith("ssl")}
    return parsed.set(drivername="postgresql+asyncpg", query=query)


def build_engine(
    url: str, *, pool_size: int | None = None, relaxed: bool = False, waits_for_locks: bool = True
) -> AsyncEngine:
    """An engine with our time limits. A SQLite one is ready for several processes that write one file.

    `relaxed`: a commit does not wait for the disk. A crash of the machine, not of a process, may undo the last of them.
    """
    target = driver_url(url)
    sqlite = target.drivername.startswith("sqlite")
    connect_args: dict[str, Any] = {"timeout": SQLITE_BUSY.total_seconds()}
    if sqlite:
        from app.core import sqlite as file  # only here: who uses PostgreSQL does not wait for its driver

        connect_args["factory"] = file.Driver
    else:
        connect_args = {
            "timeout": CONNECT_TIMEOUT.total_seconds(),
            "command_timeout": STATEMENT_TIMEOUT.total_seconds(),
            "server_settings": {
                "application_name": "neoforge",
                "statement_timeout": _milliseconds(STATEMENT_TIMEOUT),
                "idle_in_transaction_session_timeout": _milliseconds(STATEMENT_TIMEOUT),
                **({} if waits_for_locks else {"lock_timeout": _milliseconds(LOCK_TIMEOUT)}),
                **({"synchronous_commit": "off"} if relaxed else {}),
            },
            "ssl": tls.for_postgresql(make_url(url).query),
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
        event.listen(engine.sync_engine, "connect", partial(file.prepare, "NORMAL" if relaxed else "FULL", SQLITE_BUSY))
        event.listen(engine.sync_engine, "begin", file.begin)
        event.listen(engine.sync_engine, "reset", file.end)
    return engine


def _milliseconds(span: timedelta) -> str:
    return str(int(span.total_seconds() * 1000))


@lru_cache(maxsize=1)
def _engines(_process: int) -> tuple[AsyncEngine, AsyncEngine, AsyncEngine]:
    """One pool under three names: for units of work, for transactions that read, for single statements that read."""
    engine = build_engine(settings.database_url, waits_for_locks=False)
    single = {"read_only": True} if is_sqlite(engine) else {"isolation_level": "AUTOCOMMIT"}
    return engine, engine.execution_options(read_only=True), engine.execution_options(**single)


@lru_cache(maxsize=1)
def _relaxed(_process: int) -> tuple[AsyncEngine, AsyncEngine]:
    """The engine of `relaxed_session`, for transactions and for single statements."""
    engine = build_engine(settings.database_url, pool_size=2, relaxed=True, waits_for_locks=False)
    single = {} if is_sqlite(engine) else {"isolation_level": "AUTOCOMMIT"}
    return engine, engine.execution_options(**single)


@lru_cache(maxsize=1)
def _aside(_process: int) -> AsyncEngine:
    """The engine of `aside`."""
    engine = build_engine(settings.database_url, pool_size=1, waits_for_locks=False)
    single = {"read_only": True} if is_sqlite(engine) else {"isolation_level": "AUTOCOMMIT"}
    return engine.execution_options(**single)


def engine() -> AsyncEngine:
    """This process's engine. A forked process gets its own."""
    return _engines(os.getpid())[0]


async def dispose() -> None:
    """Close this process's connections; the next use opens new ones."""
    await engine().dispose()
    _engines.cache_clear()
    if _relaxed.cache_info().currsize:
        await _relaxed(os.getpid())[0].dispose()
        _relaxed.cache_clear()
    if _aside.cache_info().currsize:
        await _aside(os.getpid()).dispose()
        _aside.cache_clear()


# --- sessions -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def new_session(*, read_only: bool = False) -> AsyncIterator[AsyncSession]:
    """A session that ends with the block and rolls back what was not committed."""
    async with AsyncSession(_engines(os.getpid())[1 if read_only else 0], expire_on_commit=False) as db:
        yield db


@asynccontextmanager
async def relaxed_session(*, single: bool = False) -> AsyncIterator[AsyncSession]:
    """A session whose commit does not wait for the disk: for what is found out and done again, should it be undone.

    With `single` each statement is a transaction of its own on PostgreSQL.
    """
    async with AsyncSession(_relaxed(os.getpid())[1 if single else 0], expire_on_commit=False) as db:
        yield db


@asynccontextmanager
async def reading() -> AsyncIterator[AsyncConnection]:
    """A connection for one statement that only reads: PostgreSQL is asked without BEGIN and COMMIT around it."""
    async with _engines(os.getpid())[2].connect() as connection:
        yield connection


@asynccontextmanager
async def aside() -> AsyncIterator[AsyncConnection]:
    """The one connection for single statements that read and may not wait until the pool has one to spare."""
    async with _aside(os.getpid()).connect() as connection:
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


async def installation_id() -> str:
    """Which installation this database is, as 12 hexadecimal digits: the end of its UUIDv7, which is random."""
    async with engine().connect() as connection:
        uid = (await connection.execute(text("SELECT uid FROM installation"))).scalar_one()
        return UUID(str(uid)).hex[-12:]
