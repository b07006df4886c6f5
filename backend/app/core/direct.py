"""Statements on PostgreSQL without SQLAlchemy's cost, for the hottest routes: 30 us each in place of 250.

Each commits by itself, but for what is `last` in a longer transaction. The connections are those of the engine's pool,
with its bounds and its time limits.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.orm import Session
from sqlalchemy.util import greenlet_spawn
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db import engine

# What a connection that broke raises; SQLAlchemy does not wrap it here.
Broken = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
MAY_BE_ONE, OVER = "may_be_one", "over"


def may_be_one(db: AsyncSession) -> None:
    """Say that nothing follows on a session, so that its `last` statement may be its whole transaction."""
    db.info[MAY_BE_ONE] = True


@event.listens_for(Session, "after_begin")
def _began(session: Session, *_: Any) -> None:
    if session.info.get(OVER):
        raise RuntimeError("a statement follows what was said to be the last, and is committed: leave out may_be_one()")


class Direct:
    """A statement compiled once, and run on the driver's connection; its columns and values are the driver's types."""

    def __init__(self, statement: Any) -> None:
        dialect = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's
        compiled = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        makers = {name: one.type.dialect_impl(dialect).bind_processor(dialect) for name, one in compiled.binds.items()}
        self._makers = {name: maker for name, maker in makers.items() if maker is not None}
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}
        self._order = tuple(compiled.positiontup or ())

    async def all(self, connection: asyncpg.Connection, **values: Any) -> list[Any]:
        """Its rows.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError
        """
        rows: list[Any] = await connection.fetch(self.sql, *self.arguments(values))
        return rows

    async def last(self, db: AsyncSession, **values: Any) -> Sequence[Any]:
        """Its rows, as the last thing that a session does. Values are those that models have.

        It is a part of the session's transaction, unless that `may_be_one` statement and has not begun: then it commits
        by itself, and the session refuses whatever follows.

        Raises:
            ConnectionError: the connection broke, and nobody knows whether it was done.
            sqlalchemy.exc.DBAPIError, or what the driver raises.
        """
        values |= {name: make(values[name]) for name, make in self._makers.items() if name in values}
        if not db.info.get(MAY_BE_ONE) or db.in_transaction():
            db.info["wrote"] = True
            return (await (await db.connection()).exec_driver_sql(self.sql, tuple(self.arguments(values)))).all()
        try:
            async with connected() as connection:
                rows = await self.all(connection, **values)
        except Broken as error:
            raise ConnectionError("the connection to the database broke") from error
        db.info[OVER] = bool(rows)
        return rows

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """The values in the order in which the statement takes them."""
        known = {**self._fixed, **values}
        return [known[name] for name in self._order]


@asynccontextmanager
async def connected() -> AsyncIterator[asyncpg.Connection]:
    """A connection of the pool, as its driver knows it."""
    kept = await engine().raw_connection()
    driver: Any = kept.driver_connection
    broken = False
    try:
        yield driver
    except Broken:
        broken = True
        raise
    finally:
        await greenlet_spawn(kept.invalidate if broken or driver.is_closed() else kept.close)
