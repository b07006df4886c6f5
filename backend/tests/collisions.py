"""Requests that meet at one row, so that a race is run every time and not only on a busy machine."""

import asyncio
import sqlite3
from collections.abc import Coroutine, Sequence
from contextlib import closing
from typing import Any, TypeVar

from sqlalchemy import event, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config import settings
from app.core.db import build_engine
from app.core.db import engine as app_engine
from app.core.sql import is_sqlite
from tests.waiting import eventually

Answer = TypeVar("Answer")
WAITING = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'neoforge' AND wait_event_type = 'Lock'"
)


async def collide(row: Any, work: Sequence[Coroutine[Any, Any, Answer]], *, also: Sequence[Any] = ()) -> list[Answer]:
    """Run all of `work`, which writes `row` (a table's instance); at most 9 at once, so that each has a connection.

    On PostgreSQL the row and those of `also` are locked until every one of them has come as far as writing one, so that
    each has read them as they were. SQLite lets one transaction at a time in: there they run one after the other, as
    in life.
    """
    engine = build_engine(settings.database_url, pool_size=1)
    try:
        async with AsyncSession(engine) as holder:
            if not is_sqlite(engine):
                for one in (row, *also):
                    await holder.get_one(type(one), one.id, with_for_update=True)
            running = [asyncio.ensure_future(one) for one in work]
            if not is_sqlite(engine):
                await all_wait(len(running))
            await holder.rollback()
        return await asyncio.gather(*running)
    finally:
        await engine.dispose()


async def deleted_meanwhile(email: str, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Run `work`, which reads this account and then writes; the account goes between the two.

    On PostgreSQL the deletion is committed once `work` waits for it. On SQLite, where one transaction writes at a time,
    it is done when `work` has given its first connection back.
    """
    if is_sqlite(app_engine()):
        return await _deleted_between(email, work)
    engine = build_engine(settings.database_url, pool_size=2)
    try:
        async with engine.connect() as holder:
            await holder.execute(text("DELETE FROM users WHERE email = :email"), {"email": email})
            running = asyncio.ensure_future(work)

            async def waits() -> bool:
                async with engine.connect() as connection:
                    return (await connection.execute(WAITING)).scalar_one() > 0 or running.done()

            await eventually(waits)
            assert not running.done(), "it was answered without a look at the account that goes"
            await holder.commit()
        return await running
    finally:
        await engine.dispose()


async def _deleted_between(email: str, work: Coroutine[Any, Any, Answer]) -> Answer:
    deleted: list[int] = []

    def delete(*_: Any) -> None:
        if deleted:
            return
        with closing(sqlite3.connect(app_engine().url.database or "")) as connection, connection:
            connection.execute("PRAGMA foreign_keys = ON")
            deleted.append(connection.execute("DELETE FROM users WHERE email = ?", (email,)).rowcount)

    pool = app_engine().sync_engine.pool
    event.listen(pool, "checkin", delete)
    try:
        answer = await work
    finally:
        event.remove(pool, "checkin", delete)
    assert deleted == [1]
    return answer


async def all_wait(number: int) -> None:
    """Until so many statements wait for a lock, on PostgreSQL."""
    engine = build_engine(settings.database_url, pool_size=1)

    async def wait() -> bool:
        async with engine.connect() as connection:
            return (await connection.execute(WAITING)).scalar_one() >= number

    try:
        await eventually(wait)
    finally:
        await engine.dispose()
