"""Sealing: events that stand are appended to the chain, by one process at a time."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.db import new_session
from app.core.metrics import AUDIT_SEALS, AUDIT_UNSEALED_AGE
from app.crud import lease
from app.crud import seal as rows
from app.models.audit import AuditSeal
from app.services import chain

PART = "audit_sealer"
LEASE = timedelta(seconds=10)
"""From the last batch on. Another process takes over so long after the one that sealed was last seen to."""
BATCH = 200  # events in one transaction: some 20 ms, for which SQLite lets nobody else write


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction appended."""

    before: AuditSeal | None
    """The newest seal as it was found."""
    seals: list[AuditSeal]
    looked_at: int


async def has_work(db: AsyncSession, me: UUID) -> bool:
    """Whether events wait, and no other process seals."""
    return await rows.waiting_since(db) is not None and not await lease.is_anothers(db, PART, me)


async def measure() -> None:
    """Put into the metrics how many events are sealed, and how long the first one waits.

    Whoever reads the metrics asks for it. Where the database does not answer within a second, what was known stays.
    """
    try:
        async with asyncio.timeout(1), new_session(read_only=True) as db:
            since, newest = await rows.waiting_since(db), await rows.newest(db)
    except Exception:  # noqa: BLE001 - away, or not migrated yet: readiness tells it, and the metrics say the rest
        return
    AUDIT_SEALS.set(newest.sequence if newest else 0)
    AUDIT_UNSEALED_AGE.set(max(0.0, (utc_now() - since).total_seconds()) if since else 0)


async def seal(db: AsyncSession, me: UUID, *, most: int = BATCH) -> Batch | None:
    """Append the events that wait to the chain, at most so many; None while another process does it.

    Should two ever seal at once, the unique sequence lets one of them commit: the chain never forks.
    """
    if not await lease.take(db, PART, me, span=LEASE):
        return None
    newest = await rows.newest(db)
    found = await rows.waiting(db, most=most)
    made: list[AuditSeal] = []
    last, now, key = newest, utc_now(), chain.Key.present()
    for event, has_seal in found:
        if has_seal is None:  # else somebody put it back into the queue: it is only taken out
            last = _next(last, chain.Event.of(event), key, now)
            made.append(last)
    await rows.append(db, made, [event.id for event, _ in found])
    return Batch(newest, made, len(found))


def _next(last: AuditSeal | None, event: chain.Event, key: chain.Key, now: datetime) -> AuditSeal:
    sequence = last.sequence + 1 if last else 1
    mac = chain.mac(key, last.mac if last else chain.GENESIS, sequence=sequence, sealed_at=now, event=event)
    return AuditSeal(sequence=sequence, event_id=event.id, key_id=key.id, mac=mac, created_at=now)


async def newest(db: AsyncSession) -> str | None:
    """The newest seal as `SEQUENCE:MAC`, to be kept elsewhere against a cut tail."""
    seal = await rows.newest(db)
    return written(seal) if seal else None


def written(seal: AuditSeal) -> str:
    return f"{seal.sequence}:{seal.mac.hex()}"
