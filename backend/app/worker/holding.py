"""What this process has claimed: a thread holds the leases, and hears whether the task that runs is to stop."""

import asyncio
import threading
import time
from collections.abc import Sequence
from enum import Enum
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel.ext.asyncio.session import AsyncSession

from app.crud import task_run as rows
from app.crud.task_run import RENEW_EVERY, Claimed
from app.worker.pulse import Pulse

LOOK_EVERY = 1.0  # seconds
REPORT_EVERY = 0.5  # seconds between two reports of progress that are stored at once; one in between waits for a look
log = structlog.get_logger()

Key = tuple[UUID, int]
"""Id and attempt of a claimed row."""


class Why(Enum):
    """Why a running task is to stop."""

    asked = "asked"  # by its owner or an operator
    lease_lost = "lease_lost"  # another worker has it
    winding_down = "winding_down"  # this process ends


class Running:
    """The task that runs now."""

    def __init__(self, key: Key, task: asyncio.Task[Any]) -> None:
        self.key, self.since = key, time.monotonic()
        self.why: Why | None = None
        self.heard = False
        """Its function has asked whether it is to stop, and been told so."""
        self._task = task
        self._reported = 0.0
        self._unsent: tuple[float, str | None] | None = None

    def stop(self, why: Why) -> None:
        """Ask it to stop: what it awaits is cancelled. From any thread."""
        if self.why is None:
            self.why = why
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    def to_stop(self) -> bool:
        """Asked by its function."""
        self.heard = self.why is not None
        return self.heard

    def may_report(self, progress: float, message: str | None) -> bool:
        """Whether this is to be stored at once. Otherwise it is kept for the next look, unless another one follows."""
        now = time.monotonic()
        if now - self._reported < REPORT_EVERY:
            self._unsent = progress, message
            return False
        self._reported, self._unsent = now, None
        return True

    def take_unsent(self) -> tuple[float, str | None] | None:
        unsent, self._unsent = self._unsent, None
        return unsent


class Holder:
    """Holds the leases of the rows that this process has claimed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Claimed] = []
        self._well: list[Key] = []
        self._renewed = time.monotonic()
        self.running: Running | None = None
        self.winding_down = False
        self.pulse = Pulse("lease", self._look, every=LOOK_EVERY)
        self.pulse.start()

    def take_on(self, claimed: Sequence[Claimed]) -> None:
        """Hold these rows from now on."""
        with self._lock:
            self._waiting = list(claimed)
            self._renewed = time.monotonic()

    def next(self) -> Claimed | None:
        """The next row to run; None when there is none left."""
        with self._lock:
            return self._waiting.pop(0) if self._waiting else None

    def went_well(self, key: Key) -> None:
        """This row is to be settled; until it is, its lease is held."""
        with self._lock:
            self._well.append(key)

    def take_well(self) -> list[Key]:
        """What is to be settled now."""
        with self._lock:
            well, self._well = self._well, []
        return well

    def let_go(self) -> list[Key]:
        """Hold those that have not begun no longer: which these were."""
        with self._lock:
            left, self._waiting = self._waiting, []
        return [(row.id, row.attempt) for row in left]

    def wind_down(self) -> None:
        """Stop what runs, and begin nothing more."""
        self.winding_down = True
        if self.running:
            self.running.stop(Why.winding_down)

    async def _look(self, engine: AsyncEngine) -> None:
        running = self.running
        if running is None or time.monotonic() - running.since < LOOK_EVERY:
            return
        if left := self.let_go():  # what runs takes longer than its kind took before: others may have the rest
            async with AsyncSession(engine) as db:
                await rows.give_back(db, left)
                await db.commit()
        if time.monotonic() - self._renewed >= RENEW_EVERY.total_seconds():
            async with AsyncSession(engine) as db:
                ours = await rows.renew(db, [running.key, *self._well])
                await db.commit()
            self._renewed = time.monotonic()
        else:
            async with AsyncSession(engine.execution_options(read_only=True)) as db:
                ours = await rows.asked_to_stop(db, [running.key])
        if running.key not in ours:
            if self.running is running:  # else it has just been settled
                log.warning("lease_lost", task_id=str(running.key[0]), attempt=running.key[1])
                running.stop(Why.lease_lost)
        elif ours[running.key]:
            running.stop(Why.asked)
        if unsent := running.take_unsent():
            async with AsyncSession(engine) as db:
                await rows.report(db, *running.key, *unsent)
                await db.commit()
