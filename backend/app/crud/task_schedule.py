"""Statements over `task_schedules`. Every change is a compare-and-swap: of several schedulers at once, one makes it."""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlmodel import col, delete, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import db_now, insert_new
from app.models.task_schedule import TaskSchedule


async def now(db: AsyncSession) -> datetime:
    """What the database's clock says."""
    return (await db.exec(select(db_now()))).one()


async def known(db: AsyncSession) -> dict[str, TaskSchedule]:
    """Every schedule that a scheduler has seen, by name."""
    return {row.name: row for row in (await db.exec(select(TaskSchedule))).all()}


async def add(db: AsyncSession, name: str, declared: str, due_at: datetime) -> bool:
    """Remember a new schedule; False where another scheduler did."""
    return await insert_new(db, TaskSchedule(name=name, declared=declared, due_at=due_at), conflict="name")


async def move_on(db: AsyncSession, seen: TaskSchedule, declared: str, due_at: datetime) -> bool:
    """Have it due at another time; False where another scheduler changed it since it was `seen`."""
    as_seen = (
        (col(TaskSchedule.name) == seen.name)
        & (col(TaskSchedule.due_at) == seen.due_at)
        & (col(TaskSchedule.declared) == seen.declared)
    )
    statement = update(TaskSchedule).where(as_seen).values(declared=declared, due_at=due_at)
    return (await db.exec(statement.execution_options(synchronize_session=False))).rowcount == 1


async def forget(db: AsyncSession, names: Collection[str], *, overdue: timedelta) -> None:
    """Delete these, where nobody has looked after them for so long."""
    gone = col(TaskSchedule.name).in_(names) & (col(TaskSchedule.due_at) < db_now(-overdue))
    await db.exec(delete(TaskSchedule).where(gone))
