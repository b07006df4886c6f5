"""Sign-ins: one row each. Rotation is one compare-and-swap; a replayed refresh token ends its session."""

from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.context import origin
from app.core.errors import InvalidRefreshToken, RefreshTokenReused, SessionRevoked
from app.core.metrics import SESSIONS_REPLAYED
from app.core.secrets import key_id
from app.core.security import issue_access_token
from app.core.sql import new_id
from app.crud import change
from app.crud import session as rows
from app.models.audit import Action
from app.models.user import User
from app.models.user_session import UserSession
from app.schemas.auth import TokenPair
from app.services import audit, tokens

IDLE = timedelta(days=14)
ABSOLUTE = timedelta(days=60)
GRACE = timedelta(seconds=10)  # two tabs, or an answer that was lost: the token before the current one still answers
FRESH = timedelta(minutes=15)

log = structlog.get_logger()


async def open_session(db: AsyncSession, user: User) -> TokenPair:
    """Sign `user` in."""
    now, came = utc_now(), origin.get()
    session = UserSession(
        id=new_id(),
        user_id=user.id,
        session_token="",
        key_id=key_id(),
        salt=tokens.new_salt(),
        created_at=now,
        rotated_at=now,
        authenticated_at=now,
        last_used_at=now,
        expires_at=now + IDLE,
        ip=came.ip if came else None,
        user_agent=came.user_agent[:255] if came and came.user_agent else None,
    )
    session.session_token = tokens.fingerprint(tokens.refresh_token(session, 1))
    await rows.add(db, session)
    await audit.record(db, Action.session_opened, actor=user.id, target=user.id)
    log.info("session_opened", user_id=str(user.id), session_id=str(session.id))
    return _pair(session, session.generation, session.expires_at)


async def refresh(db: AsyncSession, presented: str) -> TokenPair:
    """Spend a refresh token for a new pair.

    Raises:
        InvalidRefreshToken: not ours, of no session, or expired.
        SessionRevoked: its session was ended, or its account disabled.
        RefreshTokenReused: it was spent before, so somebody else may hold it: the session ends.
    """
    token, session, user = await _look_up(db, presented)
    now = utc_now()
    if session.revoked_at is not None or not user.is_active:
        raise SessionRevoked
    if session.expires_at <= now:
        raise InvalidRefreshToken
    if token.generation == session.generation:
        expires_at = min(now + IDLE, session.created_at + ABSOLUTE)
        successor = tokens.refresh_token(session, session.generation + 1)
        fingerprint = tokens.fingerprint(successor)
        if await rows.rotate(db, session, session_token=fingerprint, now=now, expires_at=expires_at):
            return _pair(session, session.generation + 1, expires_at)
        session = await _again(db, session.id)  # another request was first, by a moment
    if token.generation + 1 == session.generation and now - session.rotated_at <= GRACE:
        return _pair(session, session.generation, session.expires_at)
    if token.generation > session.generation:  # made by us, but for a row that a restored backup has forgotten
        raise InvalidRefreshToken
    await end(db, session.id, reason="replayed")
    await audit.record(db, Action.session_replayed, actor=None, target=session.user_id, owner=session.user_id)
    SESSIONS_REPLAYED.inc()
    log.warning("session_replayed", session_id=str(session.id), user_id=str(session.user_id))
    raise RefreshTokenReused


async def session_of(db: AsyncSession, presented: str) -> UUID:
    """The session of a refresh token that is ours, whether it still lives or not.

    Raises:
        InvalidRefreshToken: not ours, or of no session.
    """
    return (await _look_up(db, presented))[1].id


async def end(db: AsyncSession, session_id: UUID, *, reason: str) -> None:
    """End a session; its tokens are dead with the commit. Ending it twice is no fault."""
    if await rows.revoke(db, session_id, reason=reason, now=utc_now()):
        await change.record(db, change.SESSION, session_id)
        log.info("session_ended", session_id=str(session_id), reason=reason)


def is_fresh(authenticated_at: datetime) -> bool:
    """Whether the password was given within 15 minutes."""
    return utc_now() - authenticated_at <= FRESH


async def _look_up(db: AsyncSession, presented: str) -> tuple[tokens.RefreshToken, UserSession, User]:
    token = tokens.parse_refresh_token(presented)
    found = await rows.get_with_user(db, token.session_id) if token else None
    if token is None or found is None or not token.is_of(found[0]):
        raise InvalidRefreshToken
    return token, *found


async def _again(db: AsyncSession, session_id: UUID) -> UserSession:
    session = await rows.get(db, session_id)
    if session is None or session.revoked_at is not None:
        raise SessionRevoked
    return session


def _pair(session: UserSession, generation: int, expires_at: datetime) -> TokenPair:
    access, life = issue_access_token(session.user_id, session.id, until=expires_at)
    return TokenPair(
        access_token=access,
        expires_in=life,
        refresh_token=tokens.refresh_token(session, generation),
        refresh_expires_in=int((expires_at - utc_now()).total_seconds()),
    )
