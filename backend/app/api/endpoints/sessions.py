"""Where the caller's account is signed in."""

from uuid import UUID

from fastapi import Depends

from app.api.deps import DB, CurrentPrincipal, Listing, no_store
from app.api.limits import limit
from app.api.problems import raises
from app.api.strict import StrictRouter
from app.core.errors import InvalidAccessToken, NotAuthenticated, NotFound, SessionRevoked
from app.schemas.pages import Page
from app.schemas.sessions import SessionResponse
from app.services import sessions

AUTH = raises(NotAuthenticated, InvalidAccessToken, SessionRevoked)
router = StrictRouter(prefix="/users/me/sessions", tags=["users"], dependencies=[Depends(no_store)], responses=AUTH)


@router.get("")
async def list_sessions(principal: CurrentPrincipal, db: DB, window: Listing) -> Page[SessionResponse]:
    """The sign-ins of the account that have not ended, this one among them."""
    return await sessions.living(db, principal, window)


@router.delete("", status_code=204, dependencies=[limit("general")])
async def revoke_other_sessions(principal: CurrentPrincipal, db: DB) -> None:
    """Sign out everywhere else: every session but this one ends."""
    await sessions.end_all(db, principal.id, reason="revoked", actor=principal.id, but=principal.session_id)


@router.delete("/{session_id}", status_code=204, dependencies=[limit("general")], responses=raises(NotFound))
async def revoke_session(session_id: UUID, principal: CurrentPrincipal, db: DB) -> None:
    """End one session of the account. It may be this one."""
    await sessions.revoke(db, principal, session_id)
