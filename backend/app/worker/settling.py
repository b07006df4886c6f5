"""Writing what became of rows: tried again while the database is away, for no longer than it can matter.

Each change is fenced by the attempt. One whose commit was not answered is tried again: had it been stored, the second
try finds nothing to do.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db import new_session
from app.core.db_errors import is_unavailable
from app.crud import task_run as rows
from app.crud.task_run import RUN_LEASE
from app.services import tasks
from app.worker.holding import Key

PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds
Answer = TypeVar("Answer")
log = structlog.get_logger()


async def settle(change: Callable[[AsyncSession], Awaitable[Answer]]) -> Answer:
    """Make a change and commit it.

    Raises:
        DBAPIError, OSError: the database was away until the lease ran out; others will run the row again.
    """
    until, pause = time.monotonic() + RUN_LEASE.total_seconds(), PAUSE
    while True:
        try:
            async with new_session() as db:
                answer = await change(db)
                await db.commit()
                return answer
        except Exception as error:
            if not is_unavailable(error) or time.monotonic() + pause > until:
                raise
            log.warning("settling_delayed", error=type(error).__name__)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def well(held: Sequence[Key], result: dict[str, Any] | None = None) -> set[UUID]:
    """These went well; the ids of those that were still ours."""
    return set(await settle(lambda db: rows.succeed(db, held, result))) if held else set()


async def back(held: Sequence[Key]) -> bool:
    """Have others run these at once; whether any of them was still ours."""
    if not held:
        return False
    given = await settle(lambda db: rows.give_back(db, held))
    await tasks.wake_relay()
    return bool(given)
