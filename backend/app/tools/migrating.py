"""What a migration may take from the service that runs beside it: time without end, and locks for moments only."""

import fcntl
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.db import build_engine
from app.core.db_errors import sqlstate

LOCK = 0x6E656F66  # "neof": the advisory lock that migrations of one PostgreSQL database share
LOCK_TIMEOUT = timedelta(milliseconds=500)  # what comes after a lock that is waited for waits as long
APPLICATION = "neoforge-migration"  # its name in pg_stat_activity
ATTEMPTS = 200  # to get a lock: about ten minutes
LONGEST_PAUSE = timedelta(seconds=5)  # between two attempts
TURN = timedelta(days=1)  # for which a process waits for another one's migrations
IDLE = timedelta(minutes=10)  # what a migration may compute between two statements
GONE = timedelta(seconds=2)  # in which PostgreSQL sees that a migration was killed, and ends its statement


def _milliseconds(span: timedelta) -> str:
    return str(int(span.total_seconds() * 1000))


LIMITS = {
    "application_name": APPLICATION,
    "statement_timeout": "0",  # a backfill or an index may take hours
    "lock_timeout": _milliseconds(LOCK_TIMEOUT),
    "idle_in_transaction_session_timeout": _milliseconds(IDLE),
    "tcp_keepalives_idle": "60",  # s: what a machine held that is gone is not kept for two hours
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
"""Settings of a migration's connection to PostgreSQL."""
_NOT_NOW = {"55P03", "40P01"}  # no lock in time; a deadlock, broken up
_PARAMETER = re.compile(r"(?<![:\w\\]):\w+(?!:)")  # what SQLAlchemy takes for one
_CHANGED = "changed"
_CHANGES_NOTHING = {"SELECT", "PRAGMA", "SHOW", "SET", "RESET", "BEGIN", "COMMIT", "ROLLBACK"}

T = TypeVar("T")


def without_parameters(text: str) -> str:
    """SQL in which `:name` stands for itself, for `sa.text`."""
    return _PARAMETER.sub(r"\\\g<0>", text)


@sa.event.listens_for(sa.Table, "column_reflect")
def _keep_colons(_inspector: Any, _table: Any, column: Any) -> None:
    """What was read of a default becomes a `sa.text`: that of 'at :x' would be 'at NULL' in the table made anew."""
    if isinstance(column.get("default"), str):
        column["default"] = without_parameters(column["default"])


def migration_engine(url: str) -> AsyncEngine:
    """An engine of one connection with the limits of migrations, without the references of SQLite."""
    engine = build_engine(url, pool_size=1)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine.sync_engine, "connect", _keep_references)
    else:
        sa.event.listen(engine.sync_engine, "do_connect", _take_time)
    sa.event.listen(engine.sync_engine, "before_cursor_execute", _note)
    for end in ("commit", "rollback"):
        sa.event.listen(engine.sync_engine, end, committed)
    return engine


def _keep_references(connection: Any, _: Any) -> None:
    """SQLite changes a table by making it anew; with foreign keys on, dropping the old one would empty its children."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = OFF")
    cursor.close()


def _take_time(_dialect: Any, _record: Any, _args: Any, given: dict[str, Any]) -> None:
    given["command_timeout"] = None
    given["server_settings"] = {**given["server_settings"], **LIMITS}


def in_turn(connection: Connection, work: Callable[[], None]) -> None:
    """Do `work` while no other process migrates, again and again while others have a lock that it needs, and commit."""

    def once() -> None:
        connection.rollback()
        work()
        connection.commit()

    with alone(connection):
        patiently(once)


@contextmanager
def alone(connection: Connection) -> Iterator[None]:
    """One process migrates a database at a time: the others wait for their turn. Its end frees it, `kill -9` too.

    Raises:
        CommandError: it did not come within a day.
    """
    with _alone_sqlite(connection) if connection.dialect.name == "sqlite" else _alone_postgresql(connection):
        yield


@contextmanager
def _alone_postgresql(connection: Connection) -> Iterator[None]:
    with suppress(sa.exc.DBAPIError):  # older than 14, or on a system that cannot: it notices at the statement's end
        connection.execute(sa.text(f"SET client_connection_check_interval = {_milliseconds(GONE)}"))
        connection.commit()
    connection.rollback()
    # Asked for again and again: who waits within a statement has a snapshot, which CREATE INDEX CONCURRENTLY waits for.
    took = sa.text("SELECT pg_try_advisory_lock(:lock)")

    def take() -> bool:
        taken = bool(connection.execute(took, {"lock": LOCK}).scalar_one())
        connection.commit()
        return taken

    _wait_for(take)
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.rollback()
            connection.execute(sa.text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
            connection.commit()


@contextmanager
def _alone_sqlite(connection: Connection) -> Iterator[None]:
    """By a file beside the database's, since a transaction ends with each revision."""
    file = connection.engine.url.database
    if not file or file == ":memory:":
        yield
        return
    with open(f"{file}-migrating", "ab", opener=lambda name, flags: os.open(name, flags, 0o600)) as lock:

        def take() -> bool:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            return False

        _wait_for(take)
        yield


def _wait_for(take: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TURN.total_seconds()
    while not take():
        if time.monotonic() > deadline:
            raise CommandError(f"another process migrates this database, for {TURN} by now: see what keeps it")
        time.sleep(random.uniform(0.05, 0.3))  # noqa: S311 - no secret


def patiently(work: Callable[[], T], *, attempts: int = ATTEMPTS) -> T:
    """What `work` returns, which is done again while another transaction has a lock that it needs.

    Raises:
        CommandError: it was not to be had.
    """
    longest = 0.2
    for left in reversed(range(attempts)):
        try:
            return work()
        except sa.exc.DBAPIError as error:
            if sqlstate(error) not in _NOT_NOW and "database is locked" not in str(error.orig):
                raise
            if not left:
                raise CommandError(
                    f"other transactions kept a lock at each of {attempts} attempts: what was not committed is undone. "
                    "Find them (in pg_stat_activity), end them, and run this again"
                ) from error
        time.sleep(random.uniform(0.1, longest))  # noqa: S311 - no secret; in it the others go on
        longest = min(2 * longest, LONGEST_PAUSE.total_seconds())
    raise ValueError("no attempt")


# --- what a transaction has changed -----------------------------------------------------------------------------------


def has_changed(connection: Connection) -> bool:
    """Whether the open transaction of a `migration_engine` has done more than read."""
    return bool(connection.info.get(_CHANGED))


def committed(connection: Connection) -> None:
    """What was changed is stored: SQLAlchemy says so, and who commits past it."""
    connection.info.pop(_CHANGED, None)


def _note(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
    if statement.split(maxsplit=1)[0].upper() not in _CHANGES_NOTHING:
        connection.info[_CHANGED] = True
