"""Sign-ins: one row each, from login to its end, and at most so many for an account."""

from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.config import settings
from app.core.context import origin
from app.core.errors import NotFound, SessionRevoked
from app.core.security import issue_access_token
from app.crud import change
from app.crud import session as rows
from app.crud import user as users
from app.models.audit import Action
from app.models.user import User
from app.models.user_session import UserSession
from app.schemas.auth import TokenPair
from app.schemas.pages import Page, Window
from app.schemas.principal import Principal
from app.schemas.sessions import SessionResponse
from app.services import audit, key_ring, tokens

IDLE = timedelta(days=14)
ABSOLUTE = timedelta(days=60)
FRESH = timedelta(minutes=15)

log = structlog.get_logger()


class Opened(tokens.Root, Protocol):
    """What is settled when a session opens."""

    @property
    def user_id(self) -> UUID: ...
    @property
    def created_at(self) -> datetime: ...


async def open_session(db: AsyncSession, user: User) -> TokenPair:
    """Sign `user`, whose row is locked, in. Past SESSIONS_PER_USER the one that was used longest ago ends."""
    await key_ring.before_signing(db)
    session = new_session(user.id)
    if await rows.add(db, session, now=session.created_at) >= settings.sessions_per_user:
        most = settings.sessions_per_user - 1
        displaced = await rows.revoke_oldest(db, user.id, but=session.id, keep=most, now=session.created_at)
        await _ended(db, user.id, displaced, reason="displaced", actor=user.id)
    await audit.record(db, Action.session_opened, actor=user.id, target=user.id)
    return opened(session)


def new_session(user_id: UUID) -> UserSession:
    """A session that begins now, by the request that is being answered."""
    now, came, seed = utc_now(), origin.get(), tokens.new_seed()
    return UserSession(
        **seed._asdict(),
        user_id=user_id,
        session_token=tokens.fingerprint(tokens.refresh_token(seed, 1)),
        created_at=now,
        rotated_at=now,
        authenticated_at=now,
        last_used_at=now,
        expires_at=now + IDLE,
        ip=came.ip if came else None,
        user_agent=came.user_agent[:255] if came and came.user_agent else None,
    )


def opened(session: UserSession) -> TokenPair:
    """Log that it is open; its first tokens."""
    log.info("session_opened", user_id=str(session.user_id), session_id=str(session.id))
    return pair(session, session.generation, session.expires_at)


def end_of_life(session: Opened, now: datetime) -> datetime:
    """When a session that is used now ends: 14 days later, but 60 days after sign-in at the latest."""
    return min(now + IDLE, session.created_at + ABSOLUTE)


def pair(session: Opened, generation: int, expires_at: datetime) -> TokenPair:
    """The tokens of a session's generation."""
    access, life = issue_access_token(session.user_id, session.id, until=expires_at)
    return TokenPair(
        access_token=access,
        expires_in=life,
        refresh_token=tokens.refresh_token(session, generation),
        refresh_expires_in=int((expires_at - utc_now()).total_seconds()),
    )


def is_fresh(authenticated_at: datetime) -> bool:
    """Whether the password was given within 15 minutes."""
    return utc_now() - authenticated_at <= FRESH


async def living(db: AsyncSession, principal: Principal, window: Window) -> Page[SessionResponse]:
    """The sessions that the caller's account is signed in with."""
    found = await rows.living(db, principal.id, window, now=utc_now())
    return found.of(
        lambda row: SessionResponse(
            id=row.id,
            created_at=row.created_at,
            last_used_at=row.last_used_at,
            expires_at=row.expires_at,
            ip=row.ip,
            user_agent=row.user_agent,
            current=row.id == principal.session_id,
        )
    )


# --- their end ------------------------------------------------------------------------------------------------------
# Each locks the account's row before a session's, as deleting an account does: no two wait for each other in a circle.


async def end(db: AsyncSession, user_id: UUID, session_id: UUID, *, reason: str) -> bool:
    """End a session of `user_id`; its tokens are dead with the commit. False when it had ended before, or is gone.

    The caller audits it.
    """
    if not await users.hold(db, user_id) or not await rows.revoke(db, user_id, session_id, reason, now=utc_now()):
        return False
    await _forget(db, [session_id], reason)
    return True


async def log_out(db: AsyncSession, user_id: UUID, session_id: UUID) -> None:
    """End a session because its holder asks for it. Doing it twice is no fault."""
    if await end(db, user_id, session_id, reason="logout"):
        await audit.record(db, Action.session_ended, actor=user_id, target=user_id)


async def revoke(db: AsyncSession, principal: Principal, session_id: UUID) -> None:
    """End a living session of the caller's account, this one too.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    if not await end(db, principal.id, session_id, reason="revoked"):
        raise NotFound
    await audit.record(db, Action.session_ended, actor=principal.id, target=principal.id)


async def end_all(db: AsyncSession, user_id: UUID, *, reason: str, actor: UUID | None, but: UUID | None = None) -> int:
    """End every session of `user_id`, or every one but `but`, the one that asks. Returns how many that were.

    One that is being opened at this moment is waited for, and ends too.

    Raises:
        SessionRevoked: `but` has ended meanwhile: of two that end each other, one is left.
    """
    await users.lock(db, user_id)
    if but and not await rows.lives(db, user_id, but, now=utc_now()):
        raise SessionRevoked
    ended = await rows.revoke_all(db, user_id, but=but, reason=reason, now=utc_now())
    await _ended(db, user_id, ended, reason=reason, actor=actor)
    return len(ended)


async def _ended(db: AsyncSession, user_id: UUID, ids: list[UUID], *, reason: str, actor: UUID | None) -> None:
    if ids:
        await _forget(db, ids, reason)
        await audit.record(db, Action.session_ended, actor=actor, target=user_id, owner=actor or user_id)


async def _forget(db: AsyncSession, ids: list[UUID], reason: str) -> None:
    """Say in the feed that what was known of these sessions is old."""
    await change.record_all(db, change.SESSION, ids)
    for session_id in ids:
        log.info("session_ended", session_id=str(session_id), reason=reason)
