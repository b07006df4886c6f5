"""What keeps a process answering when it is asked for more than it can do: bounds of what waits, and for how long."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar

from app.core.errors import Overloaded

MOST = 1_000  # requests of one process that wait for their answer; at 500/s the last of them waits two seconds
ANSWER_WITHIN = 4.0  # seconds from the end of a request to the beginning of its answer


class Turn:
    """One request among those that wait for their answer. While its body is on the way, we wait for the client."""

    waiting: ClassVar[int] = 0

    __slots__ = ("_counts", "_is_over", "_is_waiting", "_late", "_refuse", "_task", "_timer")

    def __init__(self, refuse: Callable[[], Awaitable[None]], *, counts: bool) -> None:
        self._refuse, self._counts = refuse, counts
        self._is_waiting = self._is_over = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._late: asyncio.Future[None] | None = None

    @property
    def is_late(self) -> bool:
        """It was refused since its time was over: nothing else may be said any more."""
        return self._late is not None

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`, which answers. When the time is over the request is refused at once, however long it takes to end.

        Raises:
            Overloaded: too many wait.
        """
        self._task = asyncio.current_task()
        try:
            self.wait()
            await work()
        except asyncio.CancelledError:
            if self._late is None or self._task is None or self._task.uncancel() > 0:
                raise
        finally:
            self.end()
        if self._late is not None:
            await self._late

    def wait(self) -> None:
        """It waits for us from here on.

        Raises:
            Overloaded
        """
        if self._is_over:
            return
        if self._counts:
            if Turn.waiting >= MOST:
                raise Overloaded
            Turn.waiting += 1
            self._is_waiting = True
        self._timer = asyncio.get_running_loop().call_later(ANSWER_WITHIN, self._give_up)

    def pause(self) -> None:
        """We wait for the client."""
        if self._is_waiting:
            Turn.waiting -= 1
            self._is_waiting = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        """It has its answer, or will never have one."""
        self.pause()
        self._is_over = True

    def _give_up(self) -> None:
        assert self._task is not None
        self._late = asyncio.ensure_future(self._refuse())
        self._task.cancel()
        self.end()
