"""Reading the chain to verify it, a part at a time.

Columns come as the driver gives them: a row that was tampered with may not be readable as what it should be.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, select, type_coerce
from sqlalchemy.types import NullType
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.audit import AuditEvent, AuditOrigin, AuditSeal, AuditUnsealed

SEAL_COLUMNS = ("event_id", "key_id", "mac", "created_at")
EVENT_COLUMNS = (
    "id", "created_at", "actor_id", "action", "target_type", "target_id", "result", "request_id", "origin",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Link:
    """A seal and its event."""

    sequence: int
    seal: Mapping[str, Any]
    event: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Standing:
    """An event, and what stands beside it."""

    id: Any
    origin: str | None
    """The digest that the event holds."""
    is_sealed: bool
    is_waiting: bool
    came_from: tuple[Any, Any, Any] | None
    """Salt, address and user agent, where they still stand."""


async def links(db: AsyncSession, *, after: int | None, most: int) -> list[Link]:
    """The next part of the chain, each seal with its event where that is there."""
    seal = [_raw(getattr(AuditSeal, name)).label(f"seal_{name}") for name in SEAL_COLUMNS]
    event = [_raw(getattr(AuditEvent, name)).label(f"event_{name}") for name in EVENT_COLUMNS]
    statement = (
        select(col(AuditSeal.sequence), *seal, *event)
        .outerjoin(AuditEvent, col(AuditEvent.id) == col(AuditSeal.event_id))
        .order_by(col(AuditSeal.sequence))
        .limit(most)
    )
    if after is not None:
        statement = statement.where(col(AuditSeal.sequence) > after)
    return [
        Link(
            row["sequence"],
            {name: row[f"seal_{name}"] for name in SEAL_COLUMNS},
            {name: row[f"event_{name}"] for name in EVENT_COLUMNS} if row["event_id"] is not None else None,
        )
        for row in (row._mapping for row in await _all(db, statement))
    ]


async def get_mac(db: AsyncSession, sequence: int) -> Any:
    found = await _all(db, select(_raw(AuditSeal.mac)).where(col(AuditSeal.sequence) == sequence))
    return found[0][0] if found else None


async def standing(db: AsyncSession, *, after: Any, most: int) -> list[Standing]:
    """The next events in the order of their ids, whether they are sealed or not."""
    place = AuditOrigin
    statement = (
        select(
            _raw(AuditEvent.id),
            _raw(AuditEvent.origin),
            col(AuditSeal.sequence),
            _raw(AuditUnsealed.event_id).label("waiting"),
            _raw(place.event_id).label("placed"),
            _raw(place.salt),
            _raw(place.ip),
            _raw(place.user_agent),
        )
        .outerjoin(AuditSeal, col(AuditSeal.event_id) == col(AuditEvent.id))
        .outerjoin(AuditUnsealed, col(AuditUnsealed.event_id) == col(AuditEvent.id))
        .outerjoin(place, col(place.event_id) == col(AuditEvent.id))
        .order_by(col(AuditEvent.id))
        .limit(most)
    )
    if after is not None:
        statement = statement.where(_raw(AuditEvent.id) > type_coerce(after, NullType()))
    found = [tuple(row) for row in await _all(db, statement)]
    return [
        Standing(uid, origin, sequence is not None, queued is not None, (salt, ip, agent) if placed else None)
        for uid, origin, sequence, queued, placed, salt, ip, agent in found
    ]


async def waiting_for_nothing(db: AsyncSession, *, most: int) -> list[Any]:
    """Events that wait to be sealed and are not there."""
    statement = (
        select(_raw(AuditUnsealed.event_id))
        .outerjoin(AuditEvent, col(AuditEvent.id) == col(AuditUnsealed.event_id))
        .where(col(AuditEvent.id).is_(None))
        .limit(most)
    )
    return [row[0] for row in await _all(db, statement)]


async def _all(db: AsyncSession, statement: Select[Any]) -> list[Row[Any]]:
    return list((await db.exec(statement)).all())  # type: ignore[call-overload]  # SQLModel types its own select() alone


def _raw(column: Any) -> Any:
    return type_coerce(column, NullType())
