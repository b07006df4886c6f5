"""The caller's own account."""

from fastapi import Depends

from app.api.deps import DB, CurrentPrincipal, CurrentUser, no_store
from app.api.limits import limit
from app.api.problems import raises
from app.api.strict import StrictRouter
from app.core.errors import InvalidAccessToken, NotAuthenticated, ReauthenticationRequired, SessionRevoked
from app.models.user import User
from app.schemas.principal import Principal
from app.schemas.users import UserResponse, UserUpdate
from app.services import accounts

AUTH = raises(NotAuthenticated, InvalidAccessToken, SessionRevoked)
router = StrictRouter(prefix="/users", tags=["users"], dependencies=[Depends(no_store)], responses=AUTH)


@router.get("/me", response_model=UserResponse)
async def read_me(principal: CurrentPrincipal) -> Principal:
    """The account of the access token."""
    return principal


@router.put("/me", response_model=UserResponse, dependencies=[limit("general")])
async def update_me(new: UserUpdate, user: CurrentUser, db: DB) -> User:
    """Change the own profile."""
    return await accounts.update_profile(db, user, new)


@router.delete("/me", status_code=204, dependencies=[limit("general")], responses=raises(ReauthenticationRequired))
async def delete_me(principal: CurrentPrincipal, db: DB) -> None:
    """Delete the own account and all that hangs on it. Needs a session that gave its password within 15 minutes."""
    await accounts.delete_account(db, principal)
