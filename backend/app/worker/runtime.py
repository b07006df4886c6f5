"""Carrying out rows: claim them, run their functions while a thread holds the leases, write what became of them.

A message names one row, or several of a kind. How many of these are claimed at once follows from how long the kind took
lately: what takes milliseconds shares its transactions, what takes longer is claimed one by one.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from contextvars import copy_context
from functools import lru_cache
from uuid import UUID

import structlog

from app.core.db import relaxed_session
from app.core.metrics import TASK_DURATION, TASK_MESSAGES_DROPPED, TASK_OUTCOMES
from app.crud import task_ring, task_run
from app.crud.task_run import Claimed
from app.services import dynamic_config, tasks
from app.worker import running, settling
from app.worker.alarm import hasten
from app.worker.holding import Holder
from app.worker.tracking import REGISTRY, TrackedTask

BATCH_SPAN = 0.05  # seconds of work that share a claim and a settling
MOST = 64  # rows
MESSAGE_SPAN = 1.0  # seconds after which the rest of a message's rows is left to others
TOO_LONG = 0.2  # seconds for a message of several rows: then the relay is told how many fit
log = structlog.get_logger()


class Pace:
    """How long the tasks of a kind take in this process."""

    def __init__(self) -> None:
        self._usual: dict[str, float] = {}

    def took(self, task_type: str, seconds: float) -> None:
        """Quicker is believed at once, slower only when it goes on: a busy machine makes every task slow at times."""
        known = self._usual.get(task_type, seconds)
        self._usual[task_type] = known + (seconds - known) * (0.5 if seconds < known else 0.1)

    def at_once(self, task_type: str) -> int:
        """How many rows of the kind to claim together; one of a kind that has not run here yet."""
        usual = self._usual.get(task_type)
        return 1 if usual is None else max(1, min(MOST, int(BATCH_SPAN / max(usual, 1e-6))))

    def of(self, task_type: str) -> float:
        """Seconds that a task of the kind usually takes here."""
        return self._usual.get(task_type, 0.0)


PACE = Pace()


@lru_cache(maxsize=1)
def process(_pid: int) -> tuple[asyncio.Runner, Holder]:
    """One event loop and one holder of leases for each process of the pool."""
    return asyncio.Runner(), Holder()


def run(task_type: str, ids: Sequence[UUID]) -> None:
    """Carry out the rows of a message, those that nobody else has. Blocks until it is done."""
    runner, holder = process(os.getpid())
    # The runner's own context is the first task's for ever: each one runs in a copy of what holds now.
    runner.run(carry_out(task_type, ids, holder), context=copy_context())


def wind_down() -> None:
    """This process ends: give back what runs and what has not begun. Called in the main thread, by a signal."""
    if not process.cache_info().currsize:
        return
    _, holder = process(os.getpid())
    holder.wind_down()
    if holder.running:
        hasten()


async def carry_out(task_type: str, ids: Sequence[UUID], holder: Holder) -> None:
    """Claim rows, run their function, settle them, until none is left or others had better have the rest."""
    tracked = REGISTRY.get(task_type)
    if tracked is None:
        _drop(len(ids), "unknown")
        return
    await dynamic_config.recent()
    left, began = list(ids), time.monotonic()
    while left and not holder.winding_down and time.monotonic() - began < MESSAGE_SPAN:
        now = PACE.at_once(task_type)
        batch, left = left[:now], left[now:]
        async with relaxed_session(single=True) as db:
            claimed = await task_run.claim(db, batch, max_attempts=tracked.max_attempts)
            await db.commit()
        _drop(len(batch) - len(claimed), "duplicate")
        if claimed:
            await _run_batch(claimed, tracked, holder)
    if left:
        async with relaxed_session() as db:
            await task_ring.unring(db, left)
            await db.commit()
    if len(ids) > 1 and time.monotonic() - began > TOO_LONG:
        await tasks.wake_relay(takes=(task_type, PACE.of(task_type)))


def _drop(number: int, reason: str) -> None:
    """Messages for rows that were not to be had: another delivery runs or ran them, or they are gone or cancelled."""
    if number:
        TASK_MESSAGES_DROPPED.labels(reason=reason).inc(number)
        log.info("task_messages_dropped", number=number, reason=reason)


async def _run_batch(claimed: Sequence[Claimed], tracked: TrackedTask, holder: Holder) -> None:
    """Run what was claimed, one after the other. Those that went well and have no result are settled together."""
    holder.take_on(claimed)
    ended: list[tuple[Claimed, str | None, float]] = []
    kept: set[UUID] = set()
    over = asyncio.Event()
    settler = asyncio.create_task(_settle_meanwhile(holder, kept, over)) if len(claimed) > 1 else None
    try:
        while not holder.winding_down and (row := holder.next()):
            began = time.perf_counter()
            outcome = await running.run(row, tracked, holder)
            ended.append((row, outcome, time.perf_counter() - began))
            PACE.took(row.task_type, ended[-1][2])
            if outcome is None:
                holder.went_well((row.id, row.attempt))
    finally:
        over.set()
        if settler:
            await settler
        kept |= await settling.well(holder.take_well())
        await settling.back(holder.let_go())
    for row, outcome, took in ended:
        _tell(row, outcome or ("succeeded" if row.id in kept else "fenced"), took)


async def _settle_meanwhile(holder: Holder, kept: set[UUID], over: asyncio.Event) -> None:
    """Let those that went well not wait for one that takes longer than its kind took before."""
    while not over.is_set():
        try:
            async with asyncio.timeout(BATCH_SPAN):
                await over.wait()
        except TimeoutError:
            kept |= await settling.well(holder.take_well())


def _tell(row: Claimed, outcome: str, took: float) -> None:
    TASK_DURATION.labels(task_type=row.task_type, outcome=outcome).observe(took)
    TASK_OUTCOMES.labels(task_type=row.task_type, outcome=outcome).inc()
    log.info(
        "task_finished", task_id=str(row.id), task_type=row.task_type, attempt=row.attempt, outcome=outcome,
        duration_ms=round(took * 1000, 2),
    )  # fmt: skip
