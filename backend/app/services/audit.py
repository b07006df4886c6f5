"""The audit: who did what, written in the same transaction as what it tells."""

import secrets
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.context import origin
from app.core.sql import new_id
from app.crud import audit as rows
from app.models.audit import Action, AuditEvent, AuditOrigin
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
    came = origin.get()
    event = AuditEvent(
        id=new_id(),
        actor_id=actor,
        action=action,
        target_type=target_type,
        target_id=str(target) if target is not None else None,
        result=result,
        request_id=came.request_id if came else None,
    )
    if came is None or not traced:
        await rows.add(db, event, None)
        return
    place = AuditOrigin(
        event_id=event.id,
        user_id=owner or actor,
        salt=secrets.token_bytes(16),
        ip=came.ip,
        user_agent=came.user_agent[:255] if came.user_agent else None,
    )
    event.origin = origin_digest(place.salt, place.ip, place.user_agent)
    await rows.add(db, event, place)
