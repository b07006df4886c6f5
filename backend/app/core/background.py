"""Small work that a request starts and does not wait for. It may be lost: what may not is a `background_tasks` row."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

MAX_RUNNING = 1_000
log = structlog.get_logger()
_running: set[asyncio.Task[None]] = set()


def start(work: Coroutine[Any, Any, Any]) -> None:
    """Run `work` beside the request; a fault is logged. Past 1,000 at once it is dropped."""
    if len(_running) >= MAX_RUNNING:
        work.close()
        log.warning("background_dropped", running=len(_running))
        return
    task = asyncio.get_running_loop().create_task(_guard(work))
    _running.add(task)
    task.add_done_callback(_running.discard)


async def _guard(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except Exception:  # whatever it was, nobody waits for this work: the log is the one place to say it
        log.exception("background_failed")


async def finish(seconds: float = 2) -> None:
    """Wait for what still runs, at most so long."""
    if _running:
        await asyncio.wait(_running, timeout=seconds)
