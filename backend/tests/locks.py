"""Locks of PostgreSQL: held by a test, and waited for by the service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from app.tools.migrating import APPLICATION

WAITING = """
    SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
"""
LONGEST_WAIT = """
    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0)::float
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE NOT granted AND datname = current_database() AND application_name <> $1
"""


@asynccontextmanager
async def open_transaction(url: str, statement: str) -> AsyncIterator[asyncpg.transaction.Transaction]:
    """A transaction that has done this, to be rolled back."""
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(statement)
    try:
        yield transaction
    finally:
        await connection.close()


@dataclass
class Waits:
    longest: float = 0.0
    """Seconds that somebody was seen to wait for a lock, up to then: the next look comes 20 ms later."""
    looks: int = 0


@asynccontextmanager
async def watched(url: str) -> AsyncIterator[Waits]:
    """How long others than migrations wait for locks within the block."""
    seen, over = Waits(), asyncio.Event()

    async def look() -> None:
        connection = await asyncpg.connect(url)
        while not over.is_set():
            seen.longest = max(seen.longest, await connection.fetchval(LONGEST_WAIT, APPLICATION))
            seen.looks += 1
            await asyncio.sleep(0.02)  # how often it looks
        await connection.close()

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        over.set()
        await looking
