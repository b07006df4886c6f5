"""The caller's own account, in version 2: the same service, another room."""

from fastapi import Depends

from app.api.deps import CurrentPrincipal, no_store
from app.api.problems import raises
from app.api.strict import StrictRouter
from app.core.errors import InvalidAccessToken, NotAuthenticated, SessionRevoked
from app.schemas.principal import Principal
from app.schemas.users import UserResponse

AUTH = raises(NotAuthenticated, InvalidAccessToken, SessionRevoked)
router = StrictRouter(prefix="/users", tags=["users"], dependencies=[Depends(no_store)], responses=AUTH)


@router.get("/me", response_model=UserResponse)
async def read_me(principal: CurrentPrincipal) -> Principal:
    """The account of the access token."""
    return principal
