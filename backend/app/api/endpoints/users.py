"""The caller's own account."""

from fastapi import Depends

from app.api.deps import DB, CurrentPrincipal, CurrentUser, no_store
from app.api.limits import limit
from app.api.problems import raises
from app.api.strict import StrictRouter
from app.core.errors import (
    InvalidAccessToken,
    LastAdmin,
    NotAuthenticated,
    ReauthenticationRequired,
    SessionRevoked,
    WrongPassword,
)
from app.models.user import User
from app.schemas.auth import Accepted, EmailChange, PasswordChange
from app.schemas.principal import Principal
from app.schemas.users import UserResponse, UserUpdate
from app.services import accounts, addresses, recovery

AUTH = raises(NotAuthenticated, InvalidAccessToken, SessionRevoked)
router = StrictRouter(prefix="/users", tags=["users"], dependencies=[Depends(no_store)], responses=AUTH)


# Mostly answered by the short way, which makes UserResponse of the principal too: `app/api/shortcut.py`.
@router.get("/me", response_model=UserResponse)
async def read_me(principal: CurrentPrincipal) -> Principal:
    """The account of the access token."""
    return principal


@router.put("/me", response_model=UserResponse, dependencies=[limit("general")])
async def update_me(new: UserUpdate, user: CurrentUser, db: DB) -> User:
    """Change the own profile."""
    return await accounts.update_profile(db, user, new)


@router.post("/me/password", status_code=204, dependencies=[limit("password")], responses=raises(WrongPassword))
async def change_password(given: PasswordChange, principal: CurrentPrincipal, db: DB) -> None:
    """Set a new password. Every session but this one ends."""
    await recovery.change_password(db, principal, given)


@router.post("/me/email", status_code=202, dependencies=[limit("password")], responses=raises(WrongPassword))
async def change_email(given: EmailChange, principal: CurrentPrincipal, db: DB) -> Accepted:
    """Ask for another email address. It changes when the token that is mailed to it comes back to `verify-email`.

    The old address is told, with a link that undoes it for 72 hours. The answer is the same where the new one is taken.
    """
    await addresses.ask(db, principal, given)
    return Accepted()


@router.delete(
    "/me",
    status_code=204,
    dependencies=[limit("general")],
    responses=raises(ReauthenticationRequired, LastAdmin),
)
async def delete_me(principal: CurrentPrincipal, db: DB) -> None:
    """Delete the own account and all that hangs on it. Needs a session that gave its password within 15 minutes."""
    await accounts.delete_account(db, principal)
