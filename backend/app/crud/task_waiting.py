"""What waits in `background_tasks`, and whether anybody works. Each statement walks an index, however long a queue is.

`now` is what the database's clock said just before: a value, so that PostgreSQL knows which end of an index it is.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import union_all
from sqlmodel import func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import db_now
from app.crud import task_queue, task_ring
from app.models.background_task import HELD, LEISURELY, URGENT, BackgroundTask, TaskStatus

MOST = 10_000  # rows that are counted in a queue
PATIENCE = timedelta(seconds=30)  # how long a due row may wait while nothing runs and nothing ends

_c: Any = BackgroundTask.__table__.c  # type: ignore[attr-defined]  # SQLModel sets it on every table class
_PRIORITIES = range(URGENT, LEISURELY + 1)


def pending(queue: str, priority: int) -> Any:
    """What stands together in the index of due rows, in the order of `run_at`."""
    return (_c.status == TaskStatus.pending) & (_c.queue == queue) & (_c.priority == priority)


def first_due(queue: str) -> Any:
    """Since when the first row of each priority is due, or will be: ten looks at an end of the index."""
    firsts = (select(func.min(_c.run_at)).where(pending(queue, priority)) for priority in _PRIORITIES)
    return select(*(first.scalar_subquery() for first in firsts))


def first_rung(queue: str) -> Any:
    """Since when the oldest row is due that was rung and not claimed: a few hundred rows at most are."""
    return select(func.min(_c.run_at)).where(HELD, _c.status == TaskStatus.queued, _c.queue == queue)


def due(queue: str, now: datetime) -> Any:
    """How many rows are due and not rung, counted to 10,000."""
    each = (select(_c.priority).where(pending(queue, one), _c.run_at <= now) for one in _PRIORITIES)
    return select(func.count()).select_from(union_all(*each).limit(MOST).subquery())


def runs(now: datetime) -> Any:
    """A row whose lease a worker holds."""
    return select(_c.id).where(HELD, _c.status == TaskStatus.running, _c.lease_until > now).limit(1)


def ended_lately(now: datetime) -> Any:
    """A row that a worker has ended within the last 30 s: neither its owner, who cancelled it, nor a relay."""
    by_a_worker = _c.status.in_((TaskStatus.succeeded, TaskStatus.failed)) & _c.error_code.is_distinct_from(
        "worker_lost"
    )
    return select(_c.id).where(_c.completed_at > now - PATIENCE, by_a_worker).limit(1)


async def oldest(db: AsyncSession, queue: str) -> datetime | None:
    """Since when the row of the queue that has waited longest is due, or will be; None where none waits."""
    firsts = [*(await db.exec(first_due(queue))).one(), (await db.exec(first_rung(queue))).one()]
    return min((first for first in firsts if first is not None), default=None)


async def measure(db: AsyncSession, queues: Iterable[str]) -> dict[str, tuple[float | None, int]]:
    """By queue: seconds that its oldest due row has waited, None where it is paused; how many wait, up to 10,000."""
    paused, now = await task_queue.paused(db), (await db.exec(select(db_now()))).one()
    found: dict[str, tuple[float | None, int]] = {}
    rung = await task_ring.queued(db)
    for queue in queues:
        since = now if queue in paused else await oldest(db, queue) or now
        number = (await db.exec(due(queue, now))).one() + rung.get(queue, 0)
        found[queue] = None if queue in paused else max(0.0, (now - since).total_seconds()), min(MOST, number)
    return found


async def stands_still(db: AsyncSession, queues: Iterable[str]) -> bool:
    """Whether a row of a queue that is not paused has been due for 30 s while no row runs and none has ended."""
    paused, now = await task_queue.paused(db), (await db.exec(select(db_now()))).one()
    waits = [await oldest(db, queue) for queue in queues if queue not in paused]
    if all(since is None or now - since <= PATIENCE for since in waits):
        return False
    return not any([(await db.exec(sign)).first() for sign in (runs(now), ended_lately(now))])
