"""The audit, for those who may read it."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query
from pydantic import AwareDatetime

from app.api.deps import DB, Listing, no_store, require
from app.api.problems import raises
from app.api.strict import StrictRouter
from app.core.errors import InvalidAccessToken, NotAuthenticated, PermissionDenied, SessionRevoked
from app.core.permissions import Permission
from app.schemas.audit import AuditEntry
from app.schemas.pages import Page
from app.services import history

AUTH = raises(NotAuthenticated, InvalidAccessToken, SessionRevoked, PermissionDenied)
router = StrictRouter(prefix="/admin/audit", tags=["admin"], dependencies=[Depends(no_store)], responses=AUTH)

Action = Annotated[str | None, Query(pattern="^[a-z_]{1,64}$", description="What was done, such as `user_disabled`.")]
Since = Annotated[
    AwareDatetime | None,
    Query(ge=datetime(1970, 1, 2, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC), description="From then on."),
]


@router.get("", dependencies=[require(Permission.audit_read)])
async def list_audit(
    db: DB, window: Listing, actor_id: UUID | None = None, action: Action = None, since: Since = None
) -> Page[AuditEntry]:
    """Who did what to whom, the newest first."""
    return await history.find(db, window, actor_id=actor_id, action=action, since=since)
