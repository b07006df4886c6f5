"""Reading the audit. That is not audited itself."""

from datetime import datetime
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.crud import audit as rows
from app.models.audit import AuditEvent, AuditOrigin
from app.schemas.audit import AuditEntry, SecurityEvent
from app.schemas.pages import Page, Window


async def find(
    db: AsyncSession, window: Window, *, actor_id: UUID | None, action: str | None, since: datetime | None
) -> Page[AuditEntry]:
    """Events, the newest first: by who did it, by what was done, from a moment on."""
    found = await rows.find(db, window, actor_id=actor_id, action=action, since=since)
    origins = await rows.origins(db, [event.id for event in found.items])

    def show(event: AuditEvent) -> AuditEntry:
        return AuditEntry.model_validate({**event.model_dump(), **_where(origins.get(event.id))})

    return found.of(show)


async def own(db: AsyncSession, user_id: UUID, window: Window) -> Page[SecurityEvent]:
    """What happened to an account, for its owner. Where an admin's request came from is not theirs to know."""
    found = await rows.about(db, user_id, window)
    origins = await rows.origins(db, [event.id for event in found.items], owner=user_id)

    def show(event: AuditEvent) -> SecurityEvent:
        what = {"id": event.id, "created_at": event.created_at, "action": event.action}
        return SecurityEvent.model_validate({**what, **_where(origins.get(event.id))})

    return found.of(show)


def _where(origin: AuditOrigin | None) -> dict[str, str | None]:
    return {"ip": origin.ip if origin else None, "user_agent": origin.user_agent if origin else None}
