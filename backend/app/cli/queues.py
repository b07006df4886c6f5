"""Chores on the queues of background tasks. None of them needs Redis: only to wake the relay at once."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import click
from sqlmodel.ext.asyncio.session import AsyncSession

from app.cli.work import run
from app.core.db import new_session
from app.core.logging import one_line
from app.schemas.base import rfc3339
from app.services import queues
from app.services.queues import QueueState, UnknownQueue
from app.worker.context import transaction


def print_all(*, as_json: bool) -> None:
    """Print what stands in each queue."""

    async def work() -> list[QueueState]:
        async with new_session(read_only=True) as db:
            return await queues.find(db)

    found = run(work())
    if as_json:
        for queue in found:
            click.echo(json.dumps(_as_dict(queue)))
        return
    click.echo(f"{'queue':16} {'due':>8} {'later':>8} {'rung':>6} {'running':>8} {'oldest due':>11}  paused since")
    for queue in found:
        load, since = queue.load, rfc3339(queue.paused_since) if queue.paused_since else "-"
        oldest = "-" if load.oldest_due is None else f"{load.oldest_due:.1f} s"
        numbers = f"{load.due:8} {load.later:8} {load.rung:6} {load.running:8} {oldest:>11}"
        click.echo(one_line(f"{queue.name:16} {numbers}  {since}"))


def _as_dict(queue: QueueState) -> dict[str, Any]:
    load = queue.load
    return {
        "queue": queue.name,
        "due": load.due,
        "later": load.later,
        "rung": load.rung,
        "running": load.running,
        "oldest_due_seconds": load.oldest_due,
        "paused_since": rfc3339(queue.paused_since) if queue.paused_since else None,
    }


def pause(queue: str) -> bool:
    """False when it was paused already.

    Raises:
        BadParameter: there is no such queue.
    """
    return _change(lambda db: queues.pause(db, queue, actor=None))


def resume(queue: str) -> bool:
    """False when it was not paused.

    Raises:
        BadParameter: there is no such queue.
    """
    return _change(lambda db: queues.resume(db, queue, actor=None))


def _change(chore: Callable[[AsyncSession], Awaitable[bool]]) -> bool:
    async def work() -> bool:
        async with transaction() as db:
            return await chore(db)

    try:
        return run(work())
    except UnknownQueue as error:
        raise click.BadParameter(f"{error}.", ctx=click.get_current_context()) from None
