"""Statements over `background_tasks` of relays, which ring what is due, and what was lost once more.

Every time in them is the database's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import String, and_, exists, literal, true, union_all
from sqlalchemy import select as sa_select
from sqlmodel import col, func, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import db_now
from app.models.background_task import HELD, LEISURELY, URGENT, BackgroundTask, TaskStatus
from app.models.task_queue import PausedQueue

RING_LEASE = timedelta(seconds=15)  # a message that nobody took by then is taken for lost, and the row is rung again

_table: Any = BackgroundTask.__table__  # type: ignore[attr-defined]  # SQLModel sets it on every table class
_c = _table.c
_lapsed = and_(HELD, _c.lease_until < db_now())
_due = (_c.status == TaskStatus.pending) & (_c.run_at <= db_now())
_BACK = {"status": TaskStatus.pending, "lease_until": None, "revision": _c.revision + 1}
_ENDED = {"lease_until": None, "completed_at": db_now(), "revision": _c.revision + 1}


@dataclass(frozen=True, slots=True)
class Rung:
    """A row whose message is to be sent."""

    id: UUID
    task_type: str
    queue: str


async def due_places(db: AsyncSession, queues: tuple[str, ...]) -> list[tuple[str, int]]:
    """Queue and priority of what is due, the most urgent first. Of a paused queue nothing is.

    One probe of the index for each priority of each queue: neither a long backlog nor rows of the far future cost
    anything.
    """
    return [(queue, priority) for queue, priority in (await db.exec(_places(queues))).all()]


@lru_cache(maxsize=8)
def _places(queues: tuple[str, ...]) -> Any:
    first = select(literal(URGENT).label("number")).cte("priorities", recursive=True)
    priorities = first.union_all(sa_select(first.c.number + 1).where(first.c.number < LEISURELY))
    names = union_all(*(sa_select(literal(name, String).label("name")) for name in queues)).cte("queues")
    waiting = _due & (_c.queue == names.c.name) & (_c.priority == priorities.c.number)
    paused = col(PausedQueue.name) == names.c.name
    return (
        sa_select(names.c.name, priorities.c.number)
        .select_from(names.join(priorities, true()))
        .where(exists().where(waiting), ~exists().where(paused))
        .order_by(priorities.c.number)
    )


async def any_lapsed(db: AsyncSession) -> bool:
    """Whether a lease has run out: a message was lost, or a worker died."""
    return (await db.exec(select(_c.id).where(_lapsed).limit(1))).first() is not None


async def give_up(db: AsyncSession) -> list[UUID]:
    """Park the tasks whose worker died on their last attempt, and end those that were asked to stop meanwhile."""
    lapsed = _lapsed & (_c.status == TaskStatus.running)
    asked = update(_table).where(lapsed, _c.cancel_requested).values(status=TaskStatus.cancelled, **_ENDED)
    await db.exec(asked)
    statement = (
        update(_table)
        .where(lapsed, _c.attempts >= _c.max_attempts)
        .values(
            status=TaskStatus.failed,
            error_code="worker_lost",
            error_detail="Its worker died, on every attempt.",
            **_ENDED,
        )
        .returning(_c.id)
    )
    return list((await db.exec(statement)).scalars().all())


async def rest_lapsed(db: AsyncSession) -> int:
    """Have the rows of paused queues whose lease ran out wait until these are resumed; how many that were."""
    paused = _c.queue.in_(select(PausedQueue.name))
    return (await db.exec(update(_table).where(_lapsed, paused).values(**_BACK))).rowcount


async def ring_lapsed(db: AsyncSession, *, most: int) -> list[Rung]:
    """Take the rows whose lease ran out: a message was lost, or a worker died."""
    return await _ring(db, select(_c.id).where(_lapsed).limit(most).with_for_update(skip_locked=True))


async def ring_due(db: AsyncSession, queue: str, priority: int, *, most: int) -> list[Rung]:
    """Take due rows of a queue and priority, the longest due first. Of several relays at once, each row goes to one."""
    chosen = (
        select(_c.id)
        .where(_due, _c.queue == queue, _c.priority == priority)
        .order_by(_c.run_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return await _ring(db, chosen)


async def _ring(db: AsyncSession, chosen: Any) -> list[Rung]:
    ids = chosen.cte("chosen")  # PostgreSQL runs one that locks rows just once
    statement = (
        update(_table)
        .where(_c.id.in_(select(ids.c.id)))
        .values(status=TaskStatus.queued, lease_until=db_now(RING_LEASE), revision=_c.revision + 1)
        .returning(_c.id, _c.task_type, _c.queue)
    )
    return [Rung(*row) for row in (await db.exec(statement)).all()]


async def queued(db: AsyncSession) -> dict[str, int]:
    """How many rows of each queue have been rung and not been claimed."""
    counts = select(_c.queue, func.count()).where(HELD, _c.status == TaskStatus.queued).group_by(_c.queue)
    return dict((await db.exec(counts)).all())


async def unring(db: AsyncSession, ids: Sequence[UUID]) -> None:
    """Have rows that were rung and not claimed rung anew, by whoever is next."""
    back = update(_table).where(_c.id.in_(ids), _c.status == TaskStatus.queued)
    await db.exec(back.values(**_BACK))
