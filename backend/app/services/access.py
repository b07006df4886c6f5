"""Who is asking: from an access token to the account behind it, as it is now."""

from app.core.errors import InvalidAccessToken, SessionRevoked
from app.core.security import read_access_token
from app.crud import principal
from app.schemas.principal import Principal


async def identify(access_token: str) -> Principal:
    """The account behind a token, by one statement: a session that ended a moment ago is dead here.

    Raises:
        InvalidAccessToken: the token is not valid, or its account is gone or disabled.
        SessionRevoked: its session has ended.
    """
    claims = read_access_token(access_token)
    found = await principal.load(claims.session_id)
    if found is None or found.id != claims.user_id or not found.is_active:
        raise InvalidAccessToken
    if found.revoked_at is not None:
        raise SessionRevoked
    return found
