"""Passwords that are set anew: by a link in a mail, or by who knows the old one."""

from uuid import UUID

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.db import released
from app.core.errors import InvalidAccessToken, InvalidToken, SessionRevoked, WrongPassword
from app.core.sql import new_id
from app.crud import mail_token
from app.crud import session as session_rows
from app.crud import user as users
from app.models.audit import Action
from app.models.background_task import TaskType
from app.models.mail_token import MailPurpose
from app.models.user import User
from app.schemas.auth import PasswordChange, PasswordReset
from app.schemas.principal import Principal
from app.services import audit, devices, guesses, mailing, passwords, sessions, tasks, user_cache
from app.services.mailing import Notice

log = structlog.get_logger()


async def forgot(db: AsyncSession, email: str) -> None:
    """Promise a link to set a new password, where the address has an account. The work is the same where not."""
    user = await users.get_by_email(db, email, held=True)
    whose = user.id if user else None
    if await mailing.within_budget(db, email):
        await promise_reset(db, user, email)
    await audit.record(db, Action.password_reset_asked, actor=None, target=whose, owner=whose)


async def promise_reset(db: AsyncSession, user: User | None, email: str) -> None:
    """Promise the link. The newest makes those before it void; a disabled account, and nobody, gets none."""
    user_id = user.id if user else new_id()
    await mailing.renew(db, mailing.new_link(MailPurpose.reset, user_id, email))
    await tasks.enqueue(db, TaskType.reset_email, owner=user, user_id=user_id)


async def reset(db: AsyncSession, given: PasswordReset) -> None:
    """Set a new password by a mailed token. It proves the address, and every session that was opened before ends.

    Raises:
        InvalidToken: as for `mailing.look_up`.
        ValidationFailed: the password can be guessed; the token still works.
    """
    link, user = await mailing.look_up(db, given.token, MailPurpose.reset)
    async with released(db):
        hashed = await passwords.hashed(given.new_password, (user.email, user.full_name), pointer="/new_password")
    current = await users.lock_row(db, user.id)
    if current is None or not current.is_active or current.email != link.email:
        raise InvalidToken
    if not await mail_token.use(db, link.id):
        raise InvalidToken
    await users.update(db, db_obj=current, obj_in={"hashed_password": hashed, "is_verified": True})
    await _settle(db, current, but=None, action=Action.password_reset, notice=Notice.password_reset)


async def change_password(db: AsyncSession, principal: Principal, given: PasswordChange) -> None:
    """Set a new password by the old one. Every other session ends, in the same transaction.

    Raises:
        WrongPassword; ValidationFailed: the new one can be guessed.
        InvalidAccessToken, SessionRevoked: the account or the session ended meanwhile.
    """
    user = await prove(db, principal, given.current_password)
    async with released(db):
        hashed = await passwords.hashed(given.new_password, (user.email, user.full_name), pointer="/new_password")
    current = await still(db, principal, user)
    await users.update(db, db_obj=current, obj_in={"hashed_password": hashed})
    await _settle(db, current, but=principal.session_id, action=Action.password_changed, notice=Notice.password_changed)


async def prove(db: AsyncSession, principal: Principal, password: str) -> User:
    """The caller's account, after the right password.

    Raises:
        WrongPassword; InvalidAccessToken: the account is gone.
        RateLimited: too many tries failed at this account.
    """
    user = await users.get(db, principal.id)
    if user is None:
        raise InvalidAccessToken
    account = await devices.account_at(db, user.email)
    async with released(db):
        guess = await guesses.look_at(user.email, account, password)
    if not guess.matches:
        await audit.record(db, Action.password_refused, actor=user.id, target=user.id, result="failure")
        raise WrongPassword
    guess.was_right()
    return user


async def still(db: AsyncSession, principal: Principal, proven: User) -> User:
    """The account that proved its password, locked: neither that nor the session ended meanwhile.

    Raises:
        WrongPassword, SessionRevoked
    """
    current = await users.lock_if_unchanged(db, proven.id, proven.hashed_password)
    if current is None:
        raise WrongPassword
    if not await session_rows.lives(db, principal.id, principal.session_id, now=utc_now()):
        raise SessionRevoked
    return current


async def _settle(db: AsyncSession, user: User, *, but: UUID | None, action: Action, notice: Notice) -> None:
    """What follows a new password: who came in by the old one is out, and so is what they may have asked for."""
    await mail_token.drop(db, user.id, MailPurpose.reset, MailPurpose.change)
    if user.is_verified:
        await mail_token.drop(db, user.id, MailPurpose.verify, MailPurpose.claim)
    await sessions.end_all(db, user.id, reason=action, actor=user.id, but=but)
    await user_cache.changed(db, user.id)
    await audit.record(db, action, actor=user.id, target=user.id)
    await mailing.tell(db, user, notice)
    log.info(action, user_id=str(user.id))
