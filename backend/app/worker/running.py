"""One run of one row: its function, its time limit, its being asked to stop, and the word for how it ended."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import structlog
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from app.core.db import relaxed_session
from app.core.db_errors import is_unavailable
from app.crud import task_run as rows
from app.crud.task_run import Claimed
from app.worker import settling
from app.worker.alarm import OutOfTime, alarm
from app.worker.context import TaskContext, current_task
from app.worker.holding import Holder, Running, Why
from app.worker.tracking import TrackedTask

GRACE = 1.0  # seconds past its limit, after which a task that never awaits is interrupted
log = structlog.get_logger()


def retry_delay(attempt: int) -> timedelta:
    """How long to wait after `attempt` (1-based): full jitter, at most 300 s.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return timedelta(seconds=random.uniform(0, min(300, 2**attempt)))  # noqa: S311 - spread, not secrecy


async def run(row: Claimed, tracked: TrackedTask, holder: Holder) -> str | None:
    """Run the row's function and settle the row; how it ended, in one word.

    None where it went well and has no result: the caller settles those of a batch together.
    """
    try:
        arguments = tracked.arguments.model_validate(row.task_data)
    except ValidationError as error:
        places = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors(include_input=False))
        return await _fail(row, "payload_invalid", f"The stored arguments do not fit: {places}")
    given = {name: getattr(arguments, name) for name in tracked.arguments.model_fields}
    task = asyncio.create_task(_call(row, tracked, given, holder))
    running = holder.running = Running((row.id, row.attempt), task)
    try:
        with alarm(tracked.timeout.total_seconds() + GRACE, task):
            async with asyncio.timeout(tracked.timeout.total_seconds()):
                result = await task
    except asyncio.CancelledError:
        return await _stopped(row, running.why)
    except OutOfTime:
        return await (_stopped(row, running.why) if running.why else _raised(row, tracked, TimeoutError()))
    except Exception as error:  # noqa: BLE001 - whatever a task raises is written into its row, and logged there
        return await _raised(row, tracked, error)
    finally:
        holder.running = None
    if running.heard:
        return await _stopped(row, running.why)
    if result is None:
        return None
    return "succeeded" if await settling.well([running.key], result) else "fenced"


async def _call(row: Claimed, tracked: TrackedTask, given: dict[str, Any], holder: Holder) -> dict[str, Any] | None:
    """The function itself, in a task of its own: what is said of it in the logs ends with it, and so does stopping."""
    current_task.set(row.id)
    structlog.contextvars.bind_contextvars(task_id=str(row.id))
    if tracked.context:
        given[tracked.context] = _context(row, holder)
    return await tracked(**given)


def _context(row: Claimed, holder: Holder) -> TaskContext:
    running = holder.running
    assert running is not None  # it was set before this task began

    async def report(done: float, message: str | None) -> None:
        if running.may_report(done, message):
            async with relaxed_session(single=True) as db:
                await rows.report(db, row.id, row.attempt, done, message)
                await db.commit()

    return TaskContext(row.id, row.attempt, row.user_id, running.to_stop, report)


async def _stopped(row: Claimed, why: Why | None) -> str:
    """It ended because it was cancelled."""
    match why:
        case Why.asked:
            return "cancelled" if await settling.settle(lambda db: rows.stop(db, row.id, row.attempt)) else "fenced"
        case Why.winding_down:
            return "given_back" if await settling.back([(row.id, row.attempt)]) else "fenced"
        case Why.lease_lost:
            return "fenced"
        case None:
            return await _fail(row, "CancelledError", "The task cancelled itself. See the log of its id.")


async def _raised(row: Claimed, tracked: TrackedTask, error: Exception) -> str:
    """It ended with an error: tried again later where the declaration says so and attempts are left.

    An error may say what its owner is to read: `code`, and `str(error)` then.
    """
    log.warning("task_raised", task_id=str(row.id), task_type=row.task_type, attempt=row.attempt, exc_info=error)
    said = None if isinstance(error, SQLAlchemyError) else getattr(error, "code", None)  # theirs names a web page
    code = "timed_out" if isinstance(error, TimeoutError) else said if isinstance(said, str) else type(error).__name__
    detail = str(error) if isinstance(said, str) else "See the log of this task's id."
    database_away = isinstance(error, SQLAlchemyError) and is_unavailable(error)  # which is not the task's fault
    passes = isinstance(error, tracked.retry_on) or database_away
    if not passes or row.attempt >= row.max_attempts:
        return await _fail(row, code, detail)
    delay = retry_delay(row.attempt)
    kept = await settling.settle(lambda db: rows.retry_later(db, row.id, row.attempt, delay, code[:64], detail[:1000]))
    return "retried" if kept else "fenced"


async def _fail(row: Claimed, code: str, detail: str) -> str:
    kept = await settling.settle(lambda db: rows.fail(db, row.id, row.attempt, code[:64], detail[:1000]))
    return "failed" if kept else "fenced"
