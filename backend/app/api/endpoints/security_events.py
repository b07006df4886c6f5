"""What happened to the caller's account."""

from fastapi import Depends

from app.api.deps import DB, CurrentPrincipal, Listing, no_store
from app.api.problems import raises
from app.api.strict import StrictRouter
from app.core.errors import InvalidAccessToken, NotAuthenticated, SessionRevoked
from app.schemas.audit import SecurityEvent
from app.schemas.pages import Page
from app.services import history

AUTH = raises(NotAuthenticated, InvalidAccessToken, SessionRevoked)
router = StrictRouter(
    prefix="/users/me/security-events", tags=["users"], dependencies=[Depends(no_store)], responses=AUTH
)


@router.get("")
async def list_security_events(principal: CurrentPrincipal, db: DB, window: Listing) -> Page[SecurityEvent]:
    """Sign-ins, failed ones, and changes of the account, the newest first."""
    return await history.own(db, principal.id, window)
