"""The audit: who did what, written in the same transaction as what it tells."""

import secrets
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.context import origin
from app.core.sql import new_id
from app.crud import audit as rows
from app.models.audit import Action, AuditEvent, AuditOrigin
from app.models.base import fresh
from app.services.chain import origin_digest


async def record(
    db: AsyncSession,
    action: Action,
    *,
    actor: UUID | None,
    target: UUID | str | None,
    target_type: str = "user",
    result: str = "success",
    owner: UUID | None = None,
    traced: bool = True,
) -> None:
    """Write that `actor` did `action` to `target`; the request is the one that is being answered.

    An actor of None is a stranger, or the operator's command line. `owner` is the account with which the address and
    the user agent go, the actor's own when it is None; with `traced=False` these are not kept at all.
    """
    place = place_of(owner or actor) if traced else None
    await rows.add(
        db, event_of(place, action, actor=actor, target=target, target_type=target_type, result=result), place
    )


def place_of(owner: UUID | None) -> AuditOrigin | None:
    """Where an event comes from: the request that is being answered; None outside requests."""
    came = origin.get()
    if came is None:
        return None
    return fresh(
        AuditOrigin,
        event_id=new_id(),
        user_id=owner,
        created_at=utc_now(),
        salt=secrets.token_bytes(16),
        ip=came.ip,
        user_agent=came.user_agent[:255] if came.user_agent else None,
    )


def event_of(
    place: AuditOrigin | None,
    action: Action,
    *,
    actor: UUID | None,
    target: UUID | str | None,
    target_type: str = "user",
    result: str = "success",
) -> AuditEvent:
    """The event that comes from `place`, of which it keeps a digest."""
    came = origin.get()
    return fresh(
        AuditEvent,
        id=place.event_id if place else new_id(),
        created_at=utc_now(),
        actor_id=actor,
        action=action,
        target_type=target_type,
        target_id=str(target) if target is not None else None,
        result=result,
        request_id=came.request_id if came else None,
        origin=origin_digest(place.salt, place.ip, place.user_agent) if place else None,
    )
