"""Who is asking: from an access token to the account behind it, as it is now."""

from collections.abc import Iterable
from uuid import UUID

from app.core import declared
from app.core.clock import utc_now
from app.core.config import settings
from app.core.declared import VerifiedEmail
from app.core.errors import InvalidAccessToken, Maintenance, SessionRevoked
from app.core.permissions import Permission, granted
from app.core.security import AccessClaims, UnknownKey, read_access_token
from app.core.sql import batched
from app.crud import session as sessions
from app.schemas.principal import Principal
from app.services import feed, key_ring, principal_cache, principals
from app.services.principal_cache import Known


async def identify(access_token: str) -> Principal:
    """The account behind a token, as it was less than a second ago.

    Raises:
        InvalidAccessToken: the token is not valid, or its account is gone or disabled.
        SessionRevoked: its session has ended.
    """
    return (await known(access_token.encode("utf-8", "surrogatepass"))).principal


async def known(access_token: bytes) -> Known:
    """What this process keeps of a token; else what Redis or the database says of it. Raises as `identify` does."""
    kept = principal_cache.find(access_token)
    if kept is not None:
        return kept
    claims, moved = await claims_of(access_token.decode("utf-8", "surrogatepass")), feed.moved()
    found = await principals.load(claims)
    if found is None or not found.is_active:
        raise InvalidAccessToken
    if found.revoked_at is not None:
        raise SessionRevoked
    return principal_cache.keep(access_token, claims, found, read_at=moved)


def needs_verified_email() -> bool:
    """Whether signing in needs a verified email now."""
    said = declared.verified_email()
    return settings.require_verified_email if said is VerifiedEmail.as_started else said is VerifiedEmail.needed


def admit(roles: Iterable[str]) -> None:
    """Let somebody with these roles in, who has proven who it is.

    Raises:
        Maintenance: only those who may change the configuration come in now.
    """
    if declared.maintenance() and Permission.config_write not in granted(roles):
        raise Maintenance.until(declared.maintenance_retry_after().total_seconds())


async def standing(session_ids: Iterable[UUID]) -> set[UUID]:
    """Of these sessions, those that stand, as it is now."""
    now = utc_now()
    found: set[UUID] = set()
    for some in batched(session_ids):
        found |= await sessions.standing(some, now=now)
    return found


async def claims_of(access_token: str, *, even_expired: bool = False) -> AccessClaims:
    """What a token says that we signed, whichever of our processes did, and since whenever.

    Raises:
        InvalidAccessToken: it is not valid.
    """
    await key_ring.before_verifying()
    try:
        return read_access_token(access_token, even_expired=even_expired)
    except UnknownKey as unknown:
        if not await key_ring.may_have_turned(unknown.kid):
            raise InvalidAccessToken from None
    try:
        return read_access_token(access_token, even_expired=even_expired)
    except UnknownKey:
        raise InvalidAccessToken from None
