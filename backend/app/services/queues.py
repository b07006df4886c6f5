"""Queues as an operator sees them: what stands in each, and whether anything of it is started."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.after_commit import on_commit
from app.core.config import settings
from app.crud import task_queue as rows
from app.crud.task_queue import Load
from app.models.audit import Action
from app.services import audit, tasks

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue, what stands in it, and since when it is paused."""

    name: str
    load: Load
    paused_since: datetime | None


class UnknownQueue(ValueError):
    """There is no such queue. The message names those that there are."""


async def find(db: AsyncSession) -> list[QueueState]:
    """The queues of TASK_QUEUES, and any other that has rows which are alive, or that is paused."""
    loads, paused = await rows.loads(db), await rows.paused(db)
    names = dict.fromkeys([*settings.task_queues, *sorted(loads.keys() | paused.keys())])
    return [QueueState(name, loads.get(name, Load()), paused.get(name)) for name in names]


async def pause(db: AsyncSession, name: str, *, actor: UUID | None) -> bool:
    """Start nothing of the queue any more, what was rung already neither; False when it was paused.

    Raises:
        UnknownQueue
    """
    await _known(db, name)
    if not await rows.pause(db, name):
        return False
    await audit.record(db, Action.queue_paused, actor=actor, target=name, target_type="queue")
    log.info("queue_paused", queue=name)
    return True


async def resume(db: AsyncSession, name: str, *, actor: UUID | None) -> bool:
    """Start its tasks again; False when it was not paused.

    Raises:
        UnknownQueue
    """
    await _known(db, name)
    if not await rows.resume(db, name):
        return False
    await audit.record(db, Action.queue_resumed, actor=actor, target=name, target_type="queue")
    log.info("queue_resumed", queue=name)
    on_commit(db, "wake_relay", tasks.wake_relay)
    return True


async def _known(db: AsyncSession, name: str) -> None:
    """One that TASK_QUEUES names no more can still be paused, or have rows."""
    names = [queue.name for queue in await find(db)]
    if name not in names:
        raise UnknownQueue(f"there is no queue {name!r}: there are {', '.join(names)}")
