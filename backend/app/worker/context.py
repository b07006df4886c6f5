"""What a running task may know of itself, and say: `ctx: TaskContext` among its parameters."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.after_commit import take_on_commit
from app.core.db import new_session

current_task: ContextVar[UUID] = ContextVar("current_task")
"""The id of the `background_tasks` row that is being carried out."""


@dataclass(frozen=True, slots=True)
class TaskContext:
    """The run of a task."""

    task_id: UUID
    attempt: int
    """1-based."""
    user_id: UUID | None
    """Whose task it is."""
    _cancelled: Callable[[], bool]
    _report: Callable[[float, str | None], Awaitable[None]]

    def cancelled(self) -> bool:
        """Whether the task was asked to stop, by its owner or an operator; at most some 2 s old. It costs nothing.

        What awaits meanwhile gets a `CancelledError`, as of `asyncio.Task.cancel`. A function that was told so and
        returns has stopped: its task is cancelled, not succeeded.
        """
        return self._cancelled()

    async def progress(self, done: float, message: str | None = None) -> None:
        """Say how far it is: `done` from 0 to 1, and up to 500 characters. It is stored twice a second at most.

        Raises:
            ValueError: `done` is not from 0 to 1.
        """
        if not 0 <= done <= 1:
            raise ValueError(f"progress is from 0 to 1, not {done}")
        await self._report(done, message[:500] if message else None)


@asynccontextmanager
async def transaction() -> AsyncIterator[AsyncSession]:
    """A transaction of a task: committed at the end of the block, and then what waited for that is done."""
    async with new_session() as db:
        yield db
        await db.commit()
        for action in take_on_commit(db):
            await action()
