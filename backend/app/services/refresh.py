"""Refresh tokens: spent for a new pair by one compare-and-swap; a replayed one ends its session."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core import declared, direct
from app.core.clock import utc_now
from app.core.db import engine
from app.core.errors import InvalidAccessToken, InvalidRefreshToken, RefreshTokenReused, SessionRevoked
from app.core.metrics import SESSIONS_REPLAYED
from app.core.security import read_access_token
from app.core.sql import is_sqlite
from app.core.together import Together
from app.crud import rotation
from app.crud import session as rows
from app.models.audit import Action
from app.models.user import User
from app.models.user_session import UserSession
from app.schemas.auth import TokenPair
from app.services import access, audit, key_ring, mailing, sessions, tokens
from app.services.mailing import Notice
from app.services.tokens import RefreshToken

GRACE = timedelta(seconds=10)  # two tabs, or an answer that was lost: the token before the current one still answers

log = structlog.get_logger()


async def refresh(db: AsyncSession, presented: str) -> TokenPair:
    """Spend a refresh token for a new pair.

    Raises:
        InvalidRefreshToken: not ours, of no session, or expired.
        SessionRevoked: its session was ended, or its account disabled.
        Maintenance: only those who may change the configuration come in now.
        RefreshTokenReused: it was spent before, so somebody else may hold it: the session ends.
    """
    token, session, user = await look_up(db, presented)
    await key_ring.before_signing(db)
    now = utc_now()
    if session.revoked_at is not None or not user.is_active:
        raise SessionRevoked
    if session.expires_at <= now:
        raise InvalidRefreshToken
    access.admit(user.roles)
    if token.generation == session.generation:
        expires_at = sessions.end_of_life(session, now)
        successor = tokens.refresh_token(session, session.generation + 1)
        fingerprint = tokens.fingerprint(successor)
        if await rows.rotate(db, session, session_token=fingerprint, now=now, expires_at=expires_at):
            return sessions.pair(session, session.generation + 1, expires_at)
        session = await _again(db, session.id)  # another request was first, by a moment
    if token.generation + 1 == session.generation and now - session.rotated_at <= GRACE:
        return sessions.pair(session, session.generation, session.expires_at)
    if token.generation > session.generation:  # made by us, but for a row that a restored backup has forgotten
        raise InvalidRefreshToken
    await _tell_theft(db, session, user)
    raise RefreshTokenReused


async def at_once(presented: str) -> TokenPair | None:
    """The usual case on PostgreSQL at a fraction of the cost: the current token of a session that stands.

    None where it is another: nothing has changed then, or nobody knows since the connection broke; `refresh` finds out.
    """
    token = tokens.parse_refresh_token(presented)
    if token is None or is_sqlite(engine()) or declared.maintenance():
        return None
    await key_ring.before_answering()
    turned = await _together.answer(token)
    return sessions.pair(turned.session, token.generation + 1, turned.expires_at) if turned else None


class Turned(NamedTuple):
    """A session whose next generation is the current one."""

    session: rotation.Living
    expires_at: datetime


async def _turn(presented: Sequence[RefreshToken]) -> dict[RefreshToken, Turned]:
    """Turn those sessions whose current token is there, and that nobody else turns at this moment."""
    now, right, turns = utc_now(), dict[RefreshToken, Turned](), list[rotation.Turn]()
    try:
        async with direct.connected() as connection:
            standing = await rotation.living(connection, [token.session_id for token in presented], now=now)
            for token in presented:
                session = standing.get(token.session_id)
                if session and token.generation == session.generation and token.is_of(session):
                    successor = tokens.fingerprint(tokens.refresh_token(session, token.generation + 1))
                    right[token] = Turned(session, sessions.end_of_life(session, now))
                    turns.append(rotation.Turn(session.id, token.generation, successor, right[token].expires_at))
            done = await rotation.turn(connection, turns, now=now) if turns else set()
    except direct.Broken:
        return {}
    return {token: turned for token, turned in right.items() if token.session_id in done}


_together = Together(_turn)


async def look_up(db: AsyncSession, presented: str) -> tuple[RefreshToken, UserSession, User]:
    """A refresh token that is ours, its session, whether that still lives or not, and its account.

    Raises:
        InvalidRefreshToken: not ours, or of no session.
    """
    token = tokens.parse_refresh_token(presented)
    found = await rows.get_with_user(db, token.session_id) if token else None
    if token is None or found is None or not token.is_of(found[0]):
        raise InvalidRefreshToken
    return token, *found


async def revoke(db: AsyncSession, token: str) -> None:
    """End the session of a refresh or access token. One that is not ours, or expired, ends nothing and is no fault."""
    try:
        if token.startswith(tokens.REFRESH_PREFIX):
            _, session, user = await look_up(db, token)
            whose = user.id, session.id
        else:
            claims = read_access_token(token)
            whose = claims.user_id, claims.session_id
    except (InvalidRefreshToken, InvalidAccessToken):
        return
    await sessions.log_out(db, *whose)


async def _again(db: AsyncSession, session_id: UUID) -> UserSession:
    session = await rows.get(db, session_id)
    if session is None or session.revoked_at is not None:
        raise SessionRevoked
    return session


async def _tell_theft(db: AsyncSession, session: UserSession, user: User) -> None:
    """End the session in the transaction that `RefreshTokenReused` keeps. Of several replays at once one tells it."""
    owner = session.user_id
    if await sessions.end(db, owner, session.id, reason="replayed"):
        await audit.record(db, Action.session_replayed, actor=None, target=owner, owner=owner)
        await mailing.tell(db, user, Notice.session_replayed)
        SESSIONS_REPLAYED.inc()
        log.warning("session_replayed", session_id=str(session.id), user_id=str(owner))
