"""Verifying the audit: every seal and every event is looked at, a thousand at a time, whatever was done to them."""

import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db import released
from app.crud import chain as rows
from app.services import chain
from app.services.audit_walk import Fault, Walk, told_id

BATCH = 1000
MOST_NAMED = 1000  # faults; the others are counted


@dataclass(slots=True)
class Report:
    sealed: int = 0
    unsealed: int = 0
    """Events that wait for their seal: a second's worth, while a scheduler runs."""
    newest: str | None = None
    faults: list[Fault] = field(default_factory=list)
    unnamed: int = 0
    """Faults past the first thousand."""

    @property
    def holds(self) -> bool:
        return not self.faults

    def add(self, faults: Iterator[Fault]) -> None:
        for fault in faults:
            if len(self.faults) < MOST_NAMED:
                self.faults.append(fault)
            else:
                self.unnamed += 1


async def verify(
    db: AsyncSession, *, known: tuple[int, bytes] | None = None, old_secrets: Sequence[bytes] = ()
) -> Report:
    """Walk the chain from its first seal, then the events.

    `known` is a seal that was kept elsewhere; `old_secrets` are the SECRET_KEYs before the present one.
    """
    report, walk = Report(), Walk([chain.Key.present(), *(chain.Key.of(secret) for secret in old_secrets)])
    place: Any = None
    while links := await rows.links(db, after=place, most=BATCH):
        place = links[-1].sequence
        async with released(db):  # computing takes longer than reading
            for link in links:
                report.sealed += 1
                report.add(walk.step(link))
    report.add(walk.end())
    report.newest = f"{walk.sequence}:{walk.stored.hex()}" if walk.sequence and walk.stored else None
    if known is not None:
        report.add(_compare(known, await rows.get_mac(db, known[0]), walk.sequence))
    place = None
    while events := await rows.standing(db, after=place, most=BATCH):
        place = events[-1].id
        async with released(db):
            for event in events:
                report.unsealed += not event.is_sealed
                report.add(_look_at(event))
    report.add(
        Fault("event_missing", None, told_id(gone), "it waited to be sealed and is not there")
        for gone in await rows.waiting_for_nothing(db, most=BATCH)
    )
    return report


def _compare(known: tuple[int, bytes], stored: Any, newest: int) -> Iterator[Fault]:
    sequence, mac = known
    if sequence > newest:
        yield Fault("tail_cut", sequence, None, f"it was made, and the chain ends at {newest}")
    elif not isinstance(stored, bytes) or not hmac.compare_digest(stored, mac):
        yield Fault("seal_altered", sequence, None, "it is not the one that was given")


def _look_at(event: rows.Standing) -> Iterator[Fault]:
    name = told_id(event.id)
    if not event.is_sealed and not event.is_waiting:
        yield Fault("event_unsealed", None, name, "it has no seal and does not wait for one")
    if event.came_from is not None and not _fits(event.origin, *event.came_from):
        yield Fault("origin_altered", None, name, "its address or user agent is not the one that it was written with")


def _fits(digest: str | None, salt: Any, ip: Any, user_agent: Any) -> bool:
    try:
        return digest is not None and hmac.compare_digest(chain.origin_digest(salt, ip, user_agent), digest)
    except (ValueError, TypeError, AttributeError):
        return False
