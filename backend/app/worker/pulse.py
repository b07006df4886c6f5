"""What a worker does on the side, in threads with an event loop and a connection of their own: say that the process is
alive, and hold the leases of what runs (`holding.py`), however busy a task keeps the process."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core import redis, secret_check
from app.core.config import settings
from app.core.db import build_engine, dispose
from app.core.process import CannotRun
from app.core.sql import new_id
from app.crud import heartbeat

EVERY = timedelta(seconds=10)  # three of them fit into what readiness takes for alive
log = structlog.get_logger()


class Pulse(threading.Thread):
    """Calls `beat` every so many seconds until it is stopped. One that fails is followed by the next."""

    def __init__(self, name: str, beat: Callable[[AsyncEngine], Awaitable[None]], *, every: float) -> None:
        super().__init__(name=name, daemon=True)
        self._beat, self._every = beat, every
        self._ending = threading.Event()  # `_stop` is a thread's own

    def stop(self) -> None:
        self._ending.set()

    def run(self) -> None:
        with asyncio.Runner() as runner:
            engine = build_engine(settings.database_url, pool_size=1, relaxed=True)
            while not self._ending.wait(self._every):
                try:
                    runner.run(self._once(engine))
                except Exception:  # the database may be away: the next beat tells, and a lease outlives two of them
                    log.warning("beat_failed", pulse=self.name, exc_info=True)
            runner.run(engine.dispose())

    async def _once(self, engine: AsyncEngine) -> None:
        await self._beat(engine)


_alive: tuple[Pulse, UUID] | None = None


def start(role: str) -> None:
    """Say from now on that this process is alive."""
    global _alive
    process = new_id()

    async def beat(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as db:
            await heartbeat.beat(db, process, role)
            await db.commit()

    _alive = Pulse(f"{role}-alive", beat, every=EVERY.total_seconds()), process
    _alive[0].start()
    _at_once(lambda db: heartbeat.beat(db, process, role))


def stop() -> None:
    """Say that this process goes."""
    global _alive
    if _alive is not None:
        pulse, process = _alive
        pulse.stop()
        _alive = None
        _at_once(lambda db: heartbeat.stop(db, process))


def _at_once(work: Callable[[AsyncSession], Awaitable[None]]) -> None:
    async def once() -> None:
        engine = build_engine(settings.database_url, pool_size=1)
        try:
            async with AsyncSession(engine) as db:
                await work(db)
                await db.commit()
        finally:
            await engine.dispose()

    try:
        asyncio.run(once())
    except Exception:  # readiness learns it from the next beat, or from its absence
        log.warning("beat_failed", exc_info=True)


def wait_for_prefix() -> str:
    """The Redis prefix of this installation, as soon as the database can tell it.

    Raises:
        CannotRun: SECRET_KEY is not the installation's.
    """
    said = False
    while True:
        try:
            return asyncio.run(_prefix())
        except CannotRun:
            raise
        except Exception as error:  # noqa: BLE001 - away, or not migrated yet: this process has nothing to do before it is there
            if not said:
                log.warning("database_awaited", error=type(error).__name__)
                said = True
            time.sleep(0.5)


async def _prefix() -> str:
    try:
        await secret_check.compare()
        return await redis.prefix()
    finally:
        await dispose()
