"""The sealer: appends audited events to the chain within a second, beside the relay. Many may run; one seals."""

import asyncio
import time

import structlog

from app.core.db import new_session
from app.core.sql import new_id
from app.crud import lease
from app.models.audit import AuditSeal
from app.services import sealing

POLL = 0.25  # seconds
TELL = 3600.0  # seconds
log = structlog.get_logger()


class Sealer:
    """One process's part in sealing."""

    def __init__(self) -> None:
        self.me = new_id()
        self._mine: AuditSeal | None = None
        """The last seal that this process made."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Seal until told to stop; then another process need not wait for the lease to run out."""
        next_word = time.monotonic()
        while not stopping.is_set():
            more = False
            try:
                more = await self.seal()
                if time.monotonic() >= next_word:
                    await _tell_newest()
                    next_word = time.monotonic() + TELL
            except Exception:  # the database may be away, or another was first: the events wait for the next round
                log.warning("sealing_failed", exc_info=True)
            if not more:
                await _pause(stopping)
        await self._give_up()

    async def seal(self) -> bool:
        """Append one batch, where there is something to append; whether there may be more."""
        async with new_session(read_only=True) as db:
            if not await sealing.has_work(db, self.me):
                return False
        async with new_session() as db:
            batch = await sealing.seal(db, self.me)
            await db.commit()
        if batch is None:
            return False
        self._compare(batch.before)
        self._mine = batch.seals[-1] if batch.seals else self._mine
        return batch.looked_at == sealing.BATCH

    def _compare(self, found: AuditSeal | None) -> None:
        """A chain that ends before a seal of ours has lost its tail: another database was put in place, or worse."""
        if self._mine is None or (found is not None and found.sequence > self._mine.sequence):
            return
        known, there = sealing.written(self._mine), sealing.written(found) if found else "none"
        if known != there:
            log.error("audit_seals_lost", known=known, found=there)

    async def _give_up(self) -> None:
        try:
            async with new_session() as db:
                await lease.give_up(db, sealing.PART, self.me)
                await db.commit()
        except Exception:  # it runs out by itself
            log.warning("lease_kept", part=sealing.PART, exc_info=True)


async def _tell_newest() -> None:
    """Log the newest seal: whoever cuts the chain's tail off would have to cut it out of the logs too."""
    async with new_session(read_only=True) as db:
        if seal := await sealing.newest(db):
            log.info("audit_newest_seal", seal=seal)


async def _pause(stopping: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(POLL):
            await stopping.wait()
    except TimeoutError:
        return
