"""Connections to an SQLite file that several processes write."""

import sqlite3
from datetime import timedelta
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.pool import PoolResetState


class Driver(sqlite3.Connection):
    """One that ends its transaction with itself.

    SQLite keeps a connection that was closed, its transaction and its lock until the last statement of it is gone. That
    of a request which was cancelled hangs in a traceback until garbage is searched for, and nobody can write.
    """

    def close(self) -> None:
        if self.in_transaction:
            self.rollback()
        super().close()


def prepare(synchronous: str, busy: timedelta, connection: Any, _: Any) -> None:
    """A new connection: `busy` is how long it waits for the other processes."""
    connection.isolation_level = None  # the driver's own BEGIN is off: it comes late and is never IMMEDIATE
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        f"synchronous = {synchronous}",
        "foreign_keys = ON",
        f"busy_timeout = {int(busy.total_seconds() * 1000)}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def begin(connection: Connection) -> None:
    """A reader begins plainly; a writer takes the write lock at once, since upgrading later fails under contention."""
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def end(connection: Any, _: Any, state: PoolResetState) -> None:
    """SQLite keeps a transaction open whose COMMIT failed; SQLAlchemy takes it for ended. No connection is kept so."""
    if state.asyncio_safe and connection.driver_connection.in_transaction:
        connection.rollback()
