"""A time limit that holds for a task which never awaits: the kernel's timer interrupts it."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

AGAIN = 1.0  # seconds until a task that went on is interrupted once more


class OutOfTime(BaseException):
    """The limit has passed. It is no Exception, so that no task takes it for one of its own."""


@contextmanager
def alarm(seconds: float, task: asyncio.Task[Any]) -> Iterator[None]:
    """After so many seconds raise `OutOfTime` where `task` is busy; where it waits, cancel it. Then each second again.

    Only the main thread can be interrupted: elsewhere nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_: int, __: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        if asyncio.current_task() is task:
            raise OutOfTime
        task.get_loop().call_soon_threadsafe(task.cancel)

    before, began = signal.signal(signal.SIGALRM, ring), time.monotonic()
    other, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if other:  # somebody else's timer goes on
            signal.setitimer(signal.ITIMER_REAL, max(0.001, other - (time.monotonic() - began)))


def hasten() -> None:
    """Have the alarm that is set ring within a second."""
    if signal.getitimer(signal.ITIMER_REAL)[0] > 0:
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
