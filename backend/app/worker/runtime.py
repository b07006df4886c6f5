"""Carrying out one row: claim it, run its function while a pulse holds the lease, and write what became of it."""

import asyncio
import os
import random
import time
from contextvars import copy_context
from datetime import timedelta
from functools import lru_cache
from uuid import UUID

import structlog
from pydantic import ValidationError
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db import new_session
from app.core.metrics import TASK_DURATION, TASK_OUTCOMES
from app.crud import task as rows
from app.models.background_task import BackgroundTask
from app.worker.context import current_task
from app.worker.pulse import Pulse
from app.worker.tracking import REGISTRY, TrackedTask

log = structlog.get_logger()


def retry_delay(attempt: int) -> timedelta:
    """How long to wait after `attempt` (1-based): full jitter, at most 300 s.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return timedelta(seconds=random.uniform(0, min(300, 2**attempt)))  # noqa: S311 - spread, not secrecy


class Holder:
    """Holds the lease of the row that runs in this process."""

    def __init__(self) -> None:
        self.running: tuple[UUID, int] | None = None
        self.pulse = Pulse("lease", self._renew)
        self.pulse.start()

    async def _renew(self, db: AsyncSession) -> None:
        running = self.running
        if running and not await rows.renew(db, *running):
            log.warning("lease_lost", task_id=str(running[0]), attempt=running[1])


@lru_cache(maxsize=1)
def _process(_pid: int) -> tuple[asyncio.Runner, Holder]:
    """One event loop and one lease holder for each process of the pool."""
    return asyncio.Runner(), Holder()


def run(task_id: UUID) -> None:
    """Carry out the row, unless somebody else has it. Blocks until it is done."""
    runner, holder = _process(os.getpid())
    with structlog.contextvars.bound_contextvars(task_id=str(task_id)):
        # The runner's own context is the first task's for ever: each one runs in a copy of what holds now.
        runner.run(carry_out(task_id, holder), context=copy_context())


async def carry_out(task_id: UUID, holder: Holder) -> None:
    """Claim the row, run its function, settle it."""
    async with new_session() as db:
        row = await rows.get(db, task_id)
        tracked = REGISTRY.get(row.task_type) if row else None
        claimed = await rows.claim(db, task_id, max_attempts=tracked.max_attempts) if tracked else None
        await db.commit()
    if claimed is None or tracked is None:
        TASK_OUTCOMES.labels(task_type=row.task_type if row else "unknown", outcome="duplicate").inc()
        log.info("task_dropped", known=row is not None)
        return
    holder.running = (claimed.id, claimed.attempts)
    began = time.perf_counter()
    try:
        outcome = await _outcome(claimed, tracked)
    finally:
        holder.running = None
    TASK_DURATION.labels(task_type=claimed.task_type).observe(time.perf_counter() - began)
    TASK_OUTCOMES.labels(task_type=claimed.task_type, outcome=outcome).inc()
    log.info("task_finished", task_type=claimed.task_type, attempt=claimed.attempts, outcome=outcome)


async def _outcome(row: BackgroundTask, tracked: TrackedTask) -> str:
    """Run the function and settle the row; the outcome in one word."""
    token = current_task.set(row.id)
    try:
        arguments = tracked.arguments.model_validate(row.task_data)
        async with asyncio.timeout(tracked.timeout.total_seconds()):
            result = await tracked(**{name: getattr(arguments, name) for name in tracked.arguments.model_fields})
    except ValidationError as error:
        places = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors(include_input=False))
        return await _settle_failure(row, "payload_invalid", f"The stored arguments do not fit: {places}")
    except Exception as error:  # whatever a task raises is written into its row, and logged
        log.warning("task_raised", task_type=row.task_type, attempt=row.attempts, exc_info=True)
        code = "timed_out" if isinstance(error, TimeoutError) else type(error).__name__
        again = isinstance(error, tracked.retry_on) and row.attempts < tracked.max_attempts
        return await (
            _settle_retry(row, code) if again else _settle_failure(row, code, "See the log of this task's id.")
        )
    finally:
        current_task.reset(token)
    async with new_session() as db:
        kept = await rows.succeed(db, row.id, row.attempts, result)
        await db.commit()
    return "succeeded" if kept else "fenced"


async def _settle_retry(row: BackgroundTask, code: str) -> str:
    delay = retry_delay(row.attempts)
    async with new_session() as db:
        kept = await rows.retry_later(db, row.id, row.attempts, delay, code, "Tried again later.")
        await db.commit()
    return "retried" if kept else "fenced"


async def _settle_failure(row: BackgroundTask, code: str, detail: str) -> str:
    async with new_session() as db:
        kept = await rows.fail(db, row.id, row.attempts, code[:64], detail[:1000])
        await db.commit()
    return "failed" if kept else "fenced"
