"""The relay: takes due rows and rings Celery for them. Many may run; each row is rung by one of them.

It is woken by a Redis message after a commit, and looks by itself each second, so that a lost message costs a second.
"""

import asyncio
import signal
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import structlog

from app.core import redis
from app.core.config import settings
from app.core.db import dispose, new_session, relaxed_session
from app.core.logging import set_up
from app.core.metrics import TASKS_RESCUED, TASKS_RUNG
from app.crud import task_queue
from app.crud import task_ring as rows
from app.crud.task_ring import Rung
from app.worker import pulse, schedules, scrape, waiting
from app.worker.celery import celery_app, connect
from app.worker.sealer import Sealer

POLL = 1.0  # seconds
ROOM_AGAIN, LONGEST = 0.01, 0.5  # seconds until it looks whether workers have taken some of what was rung
BATCH = 200  # rows in one transaction
ALONE = 10  # rows of a kind that are rung one by one; more of them share messages
TOGETHER = 20  # rows in one message
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
    scrape.serve(settings.scheduler_metrics_port, waiting.measured_in(asyncio.get_running_loop()))
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
    next_poll, pause = 0.0, ROOM_AGAIN
    while not stopping.is_set():
        wake.clear()
        wait = POLL
        try:
            if time.monotonic() >= next_poll:
                next_poll = time.monotonic() + POLL
                await rescue()
                await schedules.promise_due()
            rung, full = await ring_due()
            if full:  # more is due than may be rung ahead: look again soon, and less often while nobody takes any
                pause = ROOM_AGAIN if rung else min(2 * pause, LONGEST)
                wait = pause
        except Exception:  # the database or the broker may be away: the rows stay, and the next round tries again
            log.warning("relay_failed", exc_info=True)
            await asyncio.sleep(POLL)
        try:
            async with asyncio.timeout(wait):
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


async def ring_due() -> tuple[int, bool]:
    """Ring what is due: how many rows that were, and whether more is due than RELAY_AHEAD lets it ring ahead."""
    async with new_session(read_only=True) as db:
        paused = await task_queue.paused(db)
        queues = [queue for queue in settings.task_queues if queue not in paused]
        if not await rows.any_due(db, queues):
            return 0, False
    taken: list[Rung] = []
    full = False
    async with relaxed_session() as db:
        for queue in queues:
            room = min(settings.relay_ahead - await rows.queued(db, queue), BATCH)
            found = await rows.ring_due(db, queue, most=room) if room > 0 else []
            full |= len(found) >= room
            taken += found
        await db.commit()
    await _send(taken)
    return len(taken), full


async def rescue() -> int:
    """Ring again what was lost with a message or a worker; how many rows that were."""
    async with new_session(read_only=True) as db:
        if not await rows.any_lapsed(db):
            return 0
    async with new_session() as db:
        parked = await rows.give_up(db)
        taken = await rows.ring_lapsed(db, most=BATCH)
        await db.commit()
    for task_id in parked:
        log.error("task_parked", task_id=str(task_id), reason="worker_lost")
    if taken:
        TASKS_RESCUED.inc(len(taken))
        log.warning("tasks_rescued", number=len(taken))
        await _send(taken)
    return len(taken)


async def _send(taken: Sequence[Rung]) -> None:
    if taken:
        await asyncio.to_thread(_publish, taken)
        TASKS_RUNG.inc(len(taken))


def _publish(taken: Iterable[Rung]) -> None:
    """Hand the rows' ids to Celery. What does not get through is rung again when its lease runs out."""
    with celery_app.producer_or_acquire() as producer:
        for batch in _messages(taken):
            first = batch[0]
            ids = [[str(row.id) for row in batch]] if len(batch) > 1 else []
            celery_app.send_task(
                f"neoforge.{first.task_type}",
                ids,
                task_id=str(first.id),
                queue=first.queue,
                producer=producer,
                retry=False,
            )


def _messages(taken: Iterable[Rung]) -> Iterator[list[Rung]]:
    """The rows of each message: one, where few are due, so that all workers get some, and where monitors listen."""
    kinds: dict[tuple[str, str], list[Rung]] = defaultdict(list)
    for row in taken:
        kinds[row.queue, row.task_type].append(row)
    for same in kinds.values():
        size = 1 if settings.task_events or len(same) <= ALONE else TOGETHER
        for start in range(0, len(same), size):
            yield same[start : start + size]
