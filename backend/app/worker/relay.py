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
from app.crud import task_ring as rows
from app.crud.task_ring import Rung
from app.services import dynamic_config
from app.worker import pulse, schedules, scrape, waiting
from app.worker.celery import celery_app, connect
from app.worker.sealer import Sealer

POLL = 1.0  # seconds
ROOM_AGAIN, LONGEST = 0.01, 0.5  # seconds until it looks whether workers have taken some of what was rung
BATCH = 200  # rows in one transaction
LOW_WATER = 4  # more is rung once this part of what may be rung ahead is free
ALONE = 10  # rows of a kind that are rung one by one; more of them share messages
TOGETHER = 50  # rows in one message
MESSAGE_TAKES = 0.1  # seconds of work in one message, where workers said how long a kind takes
MOST_KINDS = 1_000
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
    next_poll, pause, full = 0.0, ROOM_AGAIN, False
    while not stopping.is_set():
        woken = wake.is_set()
        wake.clear()
        wait = POLL
        try:
            if time.monotonic() >= next_poll:
                next_poll = time.monotonic() + POLL
                await dynamic_config.recent()
                await rescue()
                await schedules.promise_due()
            rung, full = await ring_due(woken=woken or full)
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
                    if told := await channel.get_message(ignore_subscribe_messages=True, timeout=POLL):
                        _heard(str(told["data"]))
                        wake.set()
        except Exception:  # noqa: BLE001 - a wake-up only saves a second: whatever ended the listening, listen again
            await asyncio.sleep(POLL)


_takes: dict[str, float] = {}
"""Seconds that one of a kind takes, of those that workers found to come too many at once."""


def _heard(message: str) -> None:
    """Note what a worker says of a kind of task. Most messages say nothing: they only wake."""
    kind, _, seconds = message.partition(" ")
    if kind and (kind in _takes or len(_takes) < MOST_KINDS):
        _takes[kind] = float(seconds)


async def ring_due(*, woken: bool = True) -> tuple[int, bool]:
    """Ring what is due: how many rows that were, and whether more is due than RELAY_AHEAD lets it ring ahead.

    Nobody who looks unasked takes SQLite's lock for writing in vain.
    """
    if not woken:
        async with new_session(read_only=True) as db:
            if not await rows.due_places(db, settings.task_queues):
                return 0, False
    taken: list[Rung] = []
    full = False
    async with relaxed_session() as db:
        places = await rows.due_places(db, settings.task_queues)
        ahead = await rows.queued(db) if places else {}
        for queue, priority in places:
            room = min(settings.relay_ahead - ahead.get(queue, 0), BATCH)
            # A little room is left until it is more: else what is rung trickles, a message a row.
            enough = room > 0 and room * LOW_WATER >= settings.relay_ahead
            found = await rows.ring_due(db, queue, priority, most=room) if enough else []
            ahead[queue] = ahead.get(queue, 0) + len(found)
            full |= not enough or len(found) >= room
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
        await rows.rest_lapsed(db)
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
        fit = int(MESSAGE_TAKES / max(_takes.get(same[0].task_type, 0.0), 1e-6))
        size = 1 if settings.task_events or len(same) <= ALONE else max(1, min(TOGETHER, fit))
        for start in range(0, len(same), size):
            yield same[start : start + size]
