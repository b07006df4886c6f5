"""Keeping a process: what it does runs in a child, which is started again when it ends without having been told to.

Celery's worker can end when Redis dies at a bad moment, with exit code 0 (Celery and Kombu 5.7.0).
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event
from types import FrameType
from typing import NoReturn

from app.core.process import READY, die_with_parent

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds before a child that ended starts again; doubled each time
STEADY = 60.0  # seconds of life after which an end counts as the first again
# What is handed on. A terminal that closes means the same as SIGTERM: to Celery it would mean to start anew.
HANDED_ON = {**{s: s for s in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)}, signal.SIGHUP: signal.SIGTERM}


def keep(work: Callable[[], None]) -> NoReturn:
    """Run `work` in a child until it ends after SIGTERM, SIGINT, SIGQUIT or SIGHUP, and end with its exit code.

    One that ends by itself before it was ever ready is not started again: what is wrong with it will stay so.
    """
    raise SystemExit(Keeper(work).run())


class Keeper:
    def __init__(self, work: Callable[[], None]) -> None:
        self._work, self._child, self._told = work, 0, Event()
        self._ready, self._ready_end = os.pipe()
        os.set_blocking(self._ready, False)

    def run(self) -> int:
        """Keep the child; the exit code."""
        for signum in HANDED_ON:
            signal.signal(signum, self._hand_on)
        pause, was_ready = FIRST_PAUSE, False
        while True:
            began = time.monotonic()
            self._start()
            code = self._wait()
            was_ready = was_ready or self._said_ready()
            if self._told.is_set() or (code >= 0 and not was_ready):
                return code if code >= 0 else 128 - code
            pause = FIRST_PAUSE if time.monotonic() - began > STEADY else pause
            _say(code, pause)
            if self._told.wait(pause):
                return 0
            pause = min(2 * pause, LONGEST_PAUSE)

    def _start(self) -> None:
        """Start the child. Signals that come meanwhile wait until it can be sent them."""
        parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)
        self._child = os.fork()
        if not self._child:
            self._become(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)

    def _become(self, parent: int) -> NoReturn:
        """Be the child: of a process group of its own, since Ctrl-C would else reach it twice."""
        os.setpgid(0, 0)
        die_with_parent(parent)
        for signum in HANDED_ON:
            signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
        os.environ[READY] = str(self._ready_end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)
        self._work()
        raise SystemExit(0)

    def _wait(self) -> int:
        """Wait for the child, and as the first process of a container for all that is left to it: its exit code."""
        while True:
            ended, status = os.wait()
            if ended == self._child:
                self._child = 0
                return os.waitstatus_to_exitcode(status)

    def _said_ready(self) -> bool:
        try:
            return bool(os.read(self._ready, 1))
        except BlockingIOError:
            return False

    def _hand_on(self, signum: int, _frame: FrameType | None) -> None:
        self._told.set()
        if self._child:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self._child, HANDED_ON[signal.Signals(signum)])


def _say(code: int, pause: float) -> None:
    """In the log: imported now, since a keeper that has nothing to say stays small."""
    import structlog

    from app.core.logging import set_up

    set_up("keeper")
    structlog.get_logger().error("worker_ended_unasked", code=code, starts_again_in=pause)
    sys.stderr.flush()
