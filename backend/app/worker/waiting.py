"""What a scheduler tells Prometheus of the tables: read when it is asked."""

import asyncio
from collections.abc import Callable

import structlog

from app.core.config import settings
from app.core.db import new_session
from app.core.metrics import TASKS_OLDEST_DUE, TASKS_WAITING
from app.crud import task_waiting

PATIENCE = 5.0  # seconds
log = structlog.get_logger()


def measured_in(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """For another thread: put into the gauges what waits now, with the connections of `loop`."""

    def measure() -> None:
        try:
            asyncio.run_coroutine_threadsafe(_measure(), loop).result(2 * PATIENCE)
        except Exception as error:  # noqa: BLE001 - the database may be away: the gauges are absent, and the rest is told
            log.warning("waiting_not_measured", error=type(error).__name__)

    return measure


async def _measure() -> None:
    TASKS_OLDEST_DUE.clear()
    TASKS_WAITING.clear()
    async with asyncio.timeout(PATIENCE), new_session(read_only=True) as db:
        found = await task_waiting.measure(db, settings.task_queues)
    for queue, (oldest, number) in found.items():
        TASKS_WAITING.labels(queue=queue).set(number)
        if oldest is not None:
            TASKS_OLDEST_DUE.labels(queue=queue).set(oldest)
