"""Statements over `background_tasks` of relays, which ring what is due, and what was lost once more.

Every time in them is the database's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlmodel import func, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import db_now
from app.models.background_task import BackgroundTask, TaskStatus

RING_LEASE = timedelta(seconds=15)  # a message that nobody took by then is taken for lost, and the row is rung again

_table: Any = BackgroundTask.__table__  # type: ignore[attr-defined]  # SQLModel sets it on every table class
_c = _table.c
_leased = _c.status.in_((TaskStatus.queued, TaskStatus.running))
_due = (_c.status == TaskStatus.pending) & (_c.run_at <= db_now())
_ENDED = {"lease_until": None, "completed_at": db_now(), "revision": _c.revision + 1}


@dataclass(frozen=True, slots=True)
class Rung:
    """A row whose message is to be sent."""

    id: UUID
    task_type: str
    queue: str


async def any_due(db: AsyncSession, queues: Sequence[str]) -> bool:
    """Whether a relay has something to ring in one of these queues."""
    for queue in queues:
        if await _next_priority(db, queue, after=-1) is not None:
            return True
    return False


async def any_lapsed(db: AsyncSession) -> bool:
    """Whether a lease has run out: a message was lost, or a worker died."""
    return (await db.exec(select(_c.id).where(_leased, _c.lease_until < db_now()).limit(1))).first() is not None


async def give_up(db: AsyncSession) -> list[UUID]:
    """Park the tasks whose worker died on their last attempt, and end those that were asked to stop meanwhile."""
    lapsed = (_c.status == TaskStatus.running) & (_c.lease_until < db_now())
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


async def ring_lapsed(db: AsyncSession, *, most: int) -> list[Rung]:
    """Take the rows whose lease ran out: a message was lost, or a worker died."""
    chosen = select(_c.id).where(_leased, _c.lease_until < db_now()).limit(most).with_for_update(skip_locked=True)
    return await _ring(db, chosen)


async def ring_due(db: AsyncSession, queue: str, *, most: int) -> list[Rung]:
    """Take the due rows of a queue, the most urgent first. Of several relays at once, each row goes to one.

    Priority by priority, so that each statement walks the index straight to what is due: neither a long backlog nor
    rows of the far future cost anything.
    """
    taken: list[Rung] = []
    priority = await _next_priority(db, queue, after=-1)
    while priority is not None and len(taken) < most:
        chosen = (
            select(_c.id)
            .where(_due, _c.queue == queue, _c.priority == priority)
            .order_by(_c.run_at)
            .limit(most - len(taken))
            .with_for_update(skip_locked=True)
        )
        taken += await _ring(db, chosen)
        priority = await _next_priority(db, queue, after=priority)
    return taken


async def _next_priority(db: AsyncSession, queue: str, *, after: int) -> int | None:
    """The most urgent priority after that one of which something is due in the queue."""
    found: int | None = after
    while found is not None:
        waiting = select(func.min(_c.priority)).where(
            _c.status == TaskStatus.pending, _c.queue == queue, _c.priority > found
        )
        found = (await db.exec(waiting)).one()
        if found is not None:
            due = select(_c.id).where(_due, _c.queue == queue, _c.priority == found).limit(1)
            if (await db.exec(due)).first() is not None:
                return found
    return None


async def _ring(db: AsyncSession, chosen: Any) -> list[Rung]:
    ids = list((await db.exec(chosen)).all())
    if not ids:
        return []
    statement = (
        update(_table)
        .where(_c.id.in_(ids))
        .values(status=TaskStatus.queued, lease_until=db_now(RING_LEASE), revision=_c.revision + 1)
        .returning(_c.id, _c.task_type, _c.queue)
    )
    return [Rung(*row) for row in (await db.exec(statement)).all()]


async def queued(db: AsyncSession, queue: str) -> int:
    """How many rows of the queue have been rung and not been claimed."""
    return (await db.exec(select(func.count()).where(_c.status == TaskStatus.queued, _c.queue == queue))).one()


async def unring(db: AsyncSession, ids: Sequence[UUID]) -> None:
    """Have rows that were rung and not claimed rung anew, by whoever is next."""
    back = update(_table).where(_c.id.in_(ids), _c.status == TaskStatus.queued)
    await db.exec(back.values(status=TaskStatus.pending, lease_until=None, revision=_c.revision + 1))
