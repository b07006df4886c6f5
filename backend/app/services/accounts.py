"""Accounts: registering, signing in, the profile, and going away."""

import hmac

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core import declared
from app.core.clock import utc_now
from app.core.declared import Registration
from app.core.email import DEFAULT_LANGUAGE
from app.core.errors import (
    EmailTaken,
    InvitationNeeded,
    ReauthenticationRequired,
    RegistrationClosed,
    SessionRevoked,
)
from app.core.permissions import Role
from app.crud import change, newcomer
from app.crud import session as session_rows
from app.crud import user as users
from app.models.audit import Action
from app.models.user import User
from app.schemas.principal import Principal
from app.schemas.users import UserCreate, UserUpdate
from app.services import (
    access,
    audit,
    erasure,
    idempotency,
    mailing,
    passwords,
    recovery,
    sessions,
    tasks,
    user_cache,
    verification,
)

log = structlog.get_logger()


async def register(db: AsyncSession, new: UserCreate, language: str = DEFAULT_LANGUAGE) -> User | None:
    """Create an account and promise its verification mail, in `language`: both or neither.

    Where sign-in needs a verified email, nobody is told who exists: a taken address answers None, as a new one does,
    and its owner is told by mail.

    Raises:
        EmailTaken: an account has this email, in any letter case (only where that may be told).
        ValidationFailed: the password can be guessed.
        RegistrationClosed, InvitationNeeded
    """
    _may_register(new.invitation_code)
    quietly = access.needs_verified_email()
    hashed = await passwords.hashed(new.password, (new.email, new.full_name))
    user = users.new(new, hashed, locale=language)
    if quietly:
        made = await _stored(db, user)
        await verification.register_quietly(db, new, hashed, user if made else None)
        return None
    if not await _stored_with_all(db, user):
        if not await _stored(db, user):
            raise EmailTaken
        await verification.promise(db, user)
        await audit.record(db, Action.user_registered, actor=user.id, target=user.id)
    log.info("user_registered", user_id=str(user.id))
    return user


async def _stored(db: AsyncSession, user: User) -> bool:
    made = await users.add(db, user)
    if made:
        idempotency.belongs_to(db, user.id)
    return made is not None


async def _stored_with_all(db: AsyncSession, user: User) -> bool:
    """The usual case in one statement, where it may be: the account, its mail's promise, and what the audit says."""
    place = audit.place_of(user.id)
    event = audit.event_of(place, Action.user_registered, actor=user.id, target=user.id)
    budget, link, task = mailing.first_promised(user.email), *verification.promised(user)
    rows = [budget, link, task, event, *([place] if place else [])]
    if not await newcomer.add(db, user, rows):
        return False
    idempotency.belongs_to(db, user.id)
    tasks.wake_on_commit(db)
    return True


def _may_register(code: str | None) -> None:
    if declared.registration() is Registration.closed:
        raise RegistrationClosed
    if declared.registration() is Registration.invitation:
        given = (code or "").encode()
        # Each is compared, so that time tells nothing.
        if not sum(hmac.compare_digest(given, one.encode()) for one in declared.invitation_codes().codes):
            raise InvitationNeeded


async def reauthenticate(db: AsyncSession, principal: Principal, password: str) -> None:
    """Give the password again, so that the session counts as fresh.

    Raises:
        WrongPassword; InvalidAccessToken, SessionRevoked: the account or the session ended meanwhile.
        RateLimited: too many tries failed at this account.
    """
    user = await recovery.still(db, principal, await recovery.prove(db, principal, password))
    if not await session_rows.authenticated(db, principal.session_id, now=utc_now()):
        raise SessionRevoked
    await change.record(db, change.SESSION, principal.session_id)
    await audit.record(db, Action.session_reauthenticated, actor=user.id, target=user.id)


# --- the profile ----------------------------------------------------------------------------------------------------


async def update_profile(db: AsyncSession, user: User, new: UserUpdate) -> User:
    """Set what a user may set of their own account."""
    updated = await users.update(db, db_obj=user, obj_in=new)
    await user_cache.changed(db, user.id)
    await audit.record(db, Action.profile_updated, actor=user.id, target=user.id)
    return updated


async def delete_account(db: AsyncSession, principal: Principal) -> None:
    """Delete the account and all that hangs on it.

    Raises:
        ReauthenticationRequired: the session is not fresh.
    """
    if not sessions.is_fresh(principal.authenticated_at):
        raise ReauthenticationRequired
    await erasure.erase(db, principal.id, actor=principal.id)


async def create_admin(db: AsyncSession, new: UserCreate) -> User:
    """Make an account that holds every permission, its address taken as verified.

    Raises:
        EmailTaken, ValidationFailed: as for `register`.
    """
    hashed = await passwords.hashed(new.password, (new.email, new.full_name))
    user = await users.create(db, obj_in=new, hashed_password=hashed, is_verified=True, roles=[Role.admin])
    if user is None:
        raise EmailTaken
    await audit.record(db, Action.admin_created, actor=None, target=user.id)
    log.info("admin_created", user_id=str(user.id))
    return user
