"""Signing in: by the usual way, or, where nothing is unusual about it, by few statements past SQLAlchemy."""

from typing import NamedTuple

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core import declared, direct
from app.core.config import settings
from app.core.db import engine, new_session, released
from app.core.errors import EmailNotVerified, InvalidCredentials
from app.core.sql import is_sqlite
from app.crud import signing_in as at_once
from app.crud import user as users
from app.crud.known_device import Account
from app.models.audit import Action
from app.models.user_session import UserSession
from app.schemas.auth import TokenPair, UserLogin
from app.services import access, audit, devices, guesses, key_ring, mailing, sessions
from app.services.guesses import Guess
from app.services.mailing import Notice


class Tried(NamedTuple):
    """What came of a password that somebody typed at an address."""

    account: Account | None
    guess: Guess

    @property
    def may_come_in(self) -> Account | None:
        """The account, if it was the right password of one that is not disabled."""
        return self.account if self.account and self.account.is_active and self.guess.matches else None


async def login(db: AsyncSession, given: UserLogin) -> TokenPair:
    """Sign in. A wrong password, an unknown email and a disabled account take the same time and get the same answer.

    Raises:
        RateLimited: too many tries failed at this address.
        As `let_in`.
    """
    account = await devices.account_at(db, given.email)
    async with released(db):
        tried = await _try(account, given)
    return await let_in(db, tried)


async def let_in(db: AsyncSession, tried: Tried) -> TokenPair:
    """Open a session for who typed the right password.

    Raises:
        InvalidCredentials, EmailNotVerified (only after the right password).
        Maintenance: only those who may change the configuration come in now.
    """
    account, guess = tried.may_come_in, tried.guess
    # It may have been disabled, or its password changed, while the hash ran: only the row as it was lets in.
    current = await users.lock_if_unchanged(db, account.id, account.hashed_password) if account else None
    if current is None:
        whose = tried.account.id if tried.account else None
        await audit.record(db, Action.sign_in_failed, actor=None, target=whose, owner=whose, result="failure")
        raise InvalidCredentials
    guess.was_right()
    access.admit(current.roles)
    if access.needs_verified_email() and not current.is_verified:
        raise EmailNotVerified
    if guess.newer_hash:
        await users.update(db, db_obj=current, obj_in={"hashed_password": guess.newer_hash})
    sighting = await devices.remember(db, current.id)
    if sighting.new and not sighting.first:
        await mailing.tell(db, current, Notice.new_device)
    return await sessions.open_session(db, current)


async def _try(account: Account | None, given: UserLogin) -> Tried:
    return Tried(account, await guesses.look_at(given.email, account, given.password))


# --- at once --------------------------------------------------------------------------------------------------------


def may_be_at_once() -> bool:
    """Whether `try_at_once` may be asked."""
    return not is_sqlite(engine())


async def try_at_once(given: UserLogin) -> Tried:
    """As `login`, up to where `let_in` goes on.

    Raises:
        RateLimited: too many tries failed at this address.
    """
    try:
        async with direct.connected() as connection:
            since = devices.at_home_since()
            account = await at_once.account(connection, given.email, devices.network(), since=since)
    except direct.Broken:
        async with new_session(read_only=True) as db:
            account = await devices.account_at(db, given.email)
    return await _try(account, given)


async def let_in_at_once(tried: Tried) -> TokenPair | None:
    """The usual case at a fraction of the cost: the right password, from a device that the account knows, or its first.

    None where it is another: nothing has changed then, or nobody knows since the connection broke; `let_in` finds out.
    """
    account, guess = tried.may_come_in, tried.guess
    if account is None or guess.newer_hash or declared.maintenance():
        return None
    await key_ring.before_answering()
    session = sessions.new_session(account.id)
    try:
        if not await _opened(session, account):
            return None
    except direct.Broken:
        return None
    guess.was_right()
    return sessions.opened(session)


async def _opened(session: UserSession, account: Account) -> bool:
    """Store the session, unless somebody has to be told, to wait or to leave for it."""
    place, device = audit.place_of(account.id), devices.of_request(account.id)
    event = audit.event_of(place, Action.session_opened, actor=account.id, target=account.id)
    if place is None:
        return False
    async with direct.connected() as connection:
        return await at_once.open_session(
            connection,
            account.hashed_password,
            session,
            device,
            event,
            place,
            only_verified=access.needs_verified_email(),
            most=settings.sessions_per_user,
        )
