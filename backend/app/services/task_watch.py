"""Tasks that somebody watches: one loop a process asks after all of them at once, and tells of each change."""

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import structlog

from app.core.db_errors import is_unavailable
from app.core.sql import batched
from app.crud import task_watch as rows
from app.models.background_task import BackgroundTask

PAUSE = 0.1  # seconds from one look to the next
PATIENCE = 2.0  # seconds for one of them

Tell = Callable[[BackgroundTask | None], None]
"""Told the task as it stands after a change, perhaps more than once, or None once it is gone."""

log = structlog.get_logger()


class _Watched:
    """A task that is watched."""

    __slots__ = ("revision", "tells")

    def __init__(self, revision: int) -> None:
        self.revision = revision
        """The oldest that a watcher may have seen last."""
        self.tells: list[Tell] = []

    def tell(self, task: BackgroundTask | None) -> None:
        for tell in self.tells:
            tell(task)


_watched: dict[UUID, _Watched] = {}
_looking: asyncio.Task[None] | None = None


@contextmanager
def watching(task: BackgroundTask, tell: Tell) -> Iterator[None]:
    """Have `tell` told of every change that `task`, as it was read, does not show yet, until the block ends."""
    global _looking
    watched = _watched.setdefault(task.id, _Watched(task.revision))
    # Read before this process last looked: what has been told to the others since then is news to this one.
    watched.revision = min(watched.revision, task.revision)
    watched.tells.append(tell)
    if _looking is None or _looking.done():
        # In a context of its own: its log lines are not those of the request that happened to come first.
        _looking = asyncio.get_running_loop().create_task(_look(), context=contextvars.Context())
    try:
        yield
    finally:
        watched.tells.remove(tell)
        if not watched.tells:
            del _watched[task.id]


async def _look() -> None:
    """Look again and again while anybody watches. What goes wrong once is tried again."""
    loop, failing, took = asyncio.get_running_loop(), False, 0.0
    while _watched:
        await asyncio.sleep(max(PAUSE / 5, PAUSE - took))
        began = loop.time()
        try:
            async with asyncio.timeout(PATIENCE):
                await _look_once()
        except Exception as error:  # the database may be away, and the next look finds what this one missed
            if not failing:
                fault = None if is_unavailable(error) else error
                log.warning("task_watch_failed", error=type(error).__name__, exc_info=fault)
            failing = True
        else:
            failing = False
        took = loop.time() - began


async def _look_once() -> None:
    for task_ids in batched(_watched):
        found = await rows.revisions(task_ids)
        known = {task_id: watched for task_id in task_ids if (watched := _watched.get(task_id))}
        changed = [
            task_id for task_id, watched in known.items() if found.get(task_id, watched.revision) != watched.revision
        ]
        for task in await rows.load(changed) if changed else ():
            known[task.id].revision = task.revision
            known[task.id].tell(task)
        for task_id in known.keys() - found.keys():
            known[task_id].tell(None)
