"""Statements over `background_tasks` of workers, which claim what was rung, run it and settle it.

Every time in them is the database's own. Settling is fenced: a row is changed by the attempt that claimed it, or not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import case, tuple_
from sqlmodel import select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import db_now
from app.models.background_task import BackgroundTask, TaskStatus
from app.models.task_queue import PausedQueue

RUN_LEASE = timedelta(seconds=30)  # renewed every 10 s: two beats may be lost before a live task is offered again
RENEW_EVERY = timedelta(seconds=10)

_table: Any = BackgroundTask.__table__  # type: ignore[attr-defined]  # SQLModel sets it on every table class
_c = _table.c
_ENDED = {"lease_until": None, "completed_at": db_now(), "revision": _c.revision + 1}
_WAITING_AGAIN = {"status": TaskStatus.pending, "lease_until": None, "revision": _c.revision + 1}


@dataclass(frozen=True, slots=True)
class Claimed:
    """A row that is ours to run. Its attempt is the fence: only this attempt may settle it."""

    id: UUID
    task_type: str
    task_data: dict[str, Any]
    attempt: int
    max_attempts: int
    user_id: UUID | None


async def claim(db: AsyncSession, ids: Sequence[UUID], *, max_attempts: int) -> list[Claimed]:
    """Make these rows ours to run, those that are to be had: rung, and claimed by nobody. In the order of `ids`.

    `max_attempts` holds from the first claim on, and again for a task that somebody had tried once more.
    """
    paused = select(PausedQueue.name)
    free = (
        select(_c.id)
        .where(_c.id.in_(ids), _c.status == TaskStatus.queued, _c.queue.not_in(paused))
        .order_by(_c.id)
        .with_for_update(skip_locked=True)
    )
    anew = (_c.attempts == 0) | (_c.attempts >= _c.max_attempts)
    statement = (
        update(_table)
        .where(_c.id.in_(free), _c.status == TaskStatus.queued)
        .values(
            status=TaskStatus.running,
            attempts=_c.attempts + 1,
            max_attempts=case((anew, _c.attempts + max_attempts), else_=_c.max_attempts),
            lease_until=db_now(RUN_LEASE),
            started_at=db_now(),
            revision=_c.revision + 1,
        )
        .returning(_c.id, _c.task_type, _c.task_data, _c.attempts, _c.max_attempts, _c.user_id)
    )
    found = {row.id: Claimed(*row) for row in (await db.exec(statement)).all()}
    return [found[one] for one in ids if one in found]


async def known(db: AsyncSession, task_id: UUID) -> str | None:
    """The type of a row; None where there is no such row."""
    return (await db.exec(select(_c.task_type).where(_c.id == task_id))).first()


async def renew(db: AsyncSession, held: Iterable[tuple[UUID, int]]) -> dict[tuple[UUID, int], bool]:
    """Hold running rows, by id and attempt, for another 30 s: those that are still ours, and whether each was asked
    to stop."""
    statement = (
        update(_table)
        .where(_fence(held))
        .values(lease_until=db_now(RUN_LEASE))
        .returning(_c.id, _c.attempts, _c.cancel_requested)
    )
    return _asked((await db.exec(statement)).all())


async def asked_to_stop(db: AsyncSession, held: Iterable[tuple[UUID, int]]) -> dict[tuple[UUID, int], bool]:
    """Of running rows, by id and attempt, those that are still ours, and whether each was asked to stop."""
    return _asked((await db.exec(select(_c.id, _c.attempts, _c.cancel_requested).where(_fence(held)))).all())


def _asked(rows: Iterable[tuple[UUID, int, bool]]) -> dict[tuple[UUID, int], bool]:
    return {(task_id, attempt): asked for task_id, attempt, asked in rows}


async def report(db: AsyncSession, task_id: UUID, attempt: int, progress: float, message: str | None) -> bool:
    """Say how far it is; False when it is not ours any more."""
    return await _settle(db, [(task_id, attempt)], progress=progress, message=message, revision=_c.revision + 1) == [
        task_id
    ]


async def succeed(
    db: AsyncSession, held: Iterable[tuple[UUID, int]], result: dict[str, Any] | None = None
) -> list[UUID]:
    """These went well, with this result; the ids of those that were still ours."""
    return await _settle(
        db,
        held,
        status=TaskStatus.succeeded,
        progress=1.0,
        result=result,
        error_code=None,
        error_detail=None,
        **_ENDED,
    )


async def fail(db: AsyncSession, task_id: UUID, attempt: int, code: str, detail: str) -> bool:
    ended = {"status": TaskStatus.failed, "error_code": code, "error_detail": detail, **_ENDED}
    return await _settle(db, [(task_id, attempt)], **ended) == [task_id]


async def stop(db: AsyncSession, task_id: UUID, attempt: int) -> bool:
    """It stopped as it was asked to."""
    return await _settle(db, [(task_id, attempt)], status=TaskStatus.cancelled, **_ENDED) == [task_id]


async def retry_later(db: AsyncSession, task_id: UUID, attempt: int, delay: timedelta, code: str, detail: str) -> bool:
    """Give the row back, due after `delay`. One that was asked to stop is cancelled instead."""
    asked = _c.cancel_requested
    return await _settle(
        db,
        [(task_id, attempt)],
        status=case((asked, TaskStatus.cancelled), else_=TaskStatus.pending),
        completed_at=case((asked, db_now()), else_=None),
        run_at=db_now(delay),
        lease_until=None,
        error_code=code,
        error_detail=detail,
        revision=_c.revision + 1,
    ) == [task_id]


async def give_back(db: AsyncSession, held: Iterable[tuple[UUID, int]]) -> list[UUID]:
    """Have others run what was claimed and could not be finished here; the attempt is not counted."""
    return await _settle(db, held, attempts=_c.attempts - 1, run_at=db_now(), started_at=None, **_WAITING_AGAIN)


def _fence(held: Iterable[tuple[UUID, int]]) -> Any:
    """The rows that run, each in the attempt that was claimed."""
    return (_c.status == TaskStatus.running) & tuple_(_c.id, _c.attempts).in_(list(held))


async def _settle(db: AsyncSession, held: Iterable[tuple[UUID, int]], **values: Any) -> list[UUID]:
    """Change rows only while it is this attempt that runs each of them; the ids of those."""
    statement = update(_table).where(_fence(held)).values(**values).returning(_c.id)
    return list((await db.exec(statement)).scalars().all())
