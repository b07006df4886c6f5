"""The relay: takes due rows and rings Celery for each. Many may run; each row is rung by one of them.

It is woken by a Redis message after a commit, and looks by itself each second, so that a lost message costs a second.
"""

import asyncio
import signal
import time
from collections.abc import Iterable

import structlog

from app.core import redis
from app.core.config import settings
from app.core.db import dispose, new_session
from app.core.logging import set_up
from app.core.metrics import TASKS_RUNG
from app.crud import task as rows
from app.models.background_task import BackgroundTask
from app.services import maintenance
from app.worker import pulse
from app.worker.celery import celery_app, connect
from app.worker.sealer import Sealer

POLL = 1.0  # seconds
SWEEP = 300.0  # seconds
BATCH = 100  # rows in one transaction
log = structlog.get_logger()


def run() -> None:
    """Run until SIGTERM or SIGINT: relay, sealer and schedules. Waits for the database first."""
    set_up("scheduler")
    connect(pulse.wait_for_prefix())
    pulse.start("scheduler")
    try:
        asyncio.run(_main())
    finally:
        pulse.stop()


async def _main() -> None:
    stopping, wake = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        stopping.set()
        wake.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    log.info("relay_started")
    listener = asyncio.create_task(_listen(wake))
    sealer = asyncio.create_task(Sealer().run(stopping))
    try:
        await _work(stopping, wake)
        await sealer
    finally:
        for task in (listener, sealer):
            task.cancel()
        await asyncio.gather(listener, sealer, return_exceptions=True)
        await redis.close()
        await dispose()
    log.info("relay_stopped")


async def _work(stopping: asyncio.Event, wake: asyncio.Event) -> None:
    next_sweep = time.monotonic() + SWEEP
    while not stopping.is_set():
        wake.clear()
        try:
            while await ring_due() and not stopping.is_set():
                pass
            if time.monotonic() >= next_sweep:
                next_sweep = time.monotonic() + SWEEP
                await _sweep()
        except Exception:  # the database or the broker may be away: the rows stay, and the next round tries again
            log.warning("relay_failed", exc_info=True)
            await asyncio.sleep(POLL)
        try:
            async with asyncio.timeout(POLL):
                await wake.wait()
        except TimeoutError:
            continue


async def _listen(wake: asyncio.Event) -> None:
    """Set `wake` at each message. Redis may go and come back: only the poll is left meanwhile."""
    while True:
        try:
            async with redis.redis_client().pubsub() as channel:
                await channel.subscribe(await redis.key("wake"))
                wake.set()
                while True:
                    if await channel.get_message(ignore_subscribe_messages=True, timeout=POLL):
                        wake.set()
        except Exception:  # noqa: BLE001 - a wake-up only saves a second: whatever ended the listening, listen again
            await asyncio.sleep(POLL)


async def ring_due() -> int:
    """Ring one batch of what is due; how many rows that were. At most RELAY_AHEAD rows of a queue are rung at once."""
    async with new_session(read_only=True) as db:
        if not await rows.any_due(db):
            return 0
    async with new_session() as db:
        parked = await rows.give_up(db)
        taken = await rows.ring_lapsed(db, most=BATCH)
        for queue in await rows.waiting_queues(db):
            room = settings.relay_ahead - await rows.queued(db, queue)
            if room > 0:
                taken += await rows.ring_due(db, queue, most=min(room, BATCH))
        await db.commit()
    for task_id in parked:
        log.error("task_parked", task_id=str(task_id), reason="worker_lost")
    if taken:
        await asyncio.to_thread(_send, taken)
        TASKS_RUNG.inc(len(taken))
    return len(taken)


def _send(taken: Iterable[BackgroundTask]) -> None:
    """Hand the rows' ids to Celery. What does not get through is rung again when its lease runs out."""
    with celery_app.producer_or_acquire() as producer:
        for row in taken:
            celery_app.send_task(
                f"neoforge.{row.task_type}", task_id=str(row.id), queue=row.queue, producer=producer, retry=False
            )


async def _sweep() -> None:
    async with new_session() as db:
        gone = await maintenance.sweep(db)
        await db.commit()
    if any(gone.values()):
        log.info("sweep_finished", **gone)
