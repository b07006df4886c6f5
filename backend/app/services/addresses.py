"""Moving an account to another email address, and back: the new address proves itself, the old one can undo it."""

import secrets

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.db import released
from app.core.errors import InvalidToken
from app.core.security import hash_password
from app.core.sql import new_id
from app.crud import mail_token
from app.crud import user as users
from app.models.audit import Action
from app.models.background_task import TaskType
from app.models.mail_token import MailPurpose, MailToken
from app.models.user import User
from app.schemas.auth import EmailChange
from app.schemas.principal import Principal
from app.services import audit, erasure, mailing, recovery, sessions, tasks, user_cache

CHANGE_ASKED, CHANGED = "change_asked", "email_changed"
log = structlog.get_logger()


async def ask(db: AsyncSession, principal: Principal, given: EmailChange) -> None:
    """Promise a link to the new address, and one that undoes it to the old one. Nothing changes until one comes back.

    The work is the same where the new address is taken: its owner is told.

    Raises:
        WrongPassword; InvalidAccessToken, SessionRevoked: the account or the session ended meanwhile.
    """
    proven = await recovery.prove(db, principal, given.current_password)
    user = await recovery.still(db, principal, proven)
    owner = await users.get_by_email(db, given.new_email, held=True)
    if await mailing.within_budget(db, given.new_email):
        await mail_token.drop(db, user.id, MailPurpose.change)
        link = mailing.new_link(MailPurpose.change, new_id() if owner else user.id, given.new_email)
        await mail_token.add_for_account(db, link)
        told = owner or user
        await tasks.enqueue(db, TaskType.email_taken if owner else TaskType.change_email, owner=told, user_id=told.id)
    await mail_token.drop_undo(db, user.id, user.email)
    undo = mailing.new_link(MailPurpose.undo, user.id, user.email)
    await mail_token.add_for_account(db, undo)
    await tasks.enqueue(db, TaskType.undo_email, owner=user, token_id=undo.id, mail=CHANGE_ASKED)
    await audit.record(db, Action.email_change_asked, actor=user.id, target=user.id)


async def move(db: AsyncSession, link: MailToken) -> None:
    """Move the account to the address that the link has proven, and tell the old one.

    Raises:
        InvalidToken: the link was used meanwhile, or another account has the address by now.
    """
    user = await users.lock_row(db, link.user_id)
    if user is None or not user.is_active or not await mail_token.use(db, link.id):
        raise InvalidToken
    old = user.email
    if not await users.move(db, user, link.email):
        raise InvalidToken
    await _forget_links(db, user)
    until = utc_now() + mailing.LIFE[MailPurpose.undo]
    undo = await mail_token.prolong_undo(db, user.id, old, until)
    if undo is not None:
        await tasks.enqueue(db, TaskType.undo_email, owner=user, token_id=undo, mail=CHANGED)
    await user_cache.changed(db, user.id)
    await audit.record(db, Action.email_changed, actor=user.id, target=user.id)
    log.info("email_changed", user_id=str(user.id))


async def undo(db: AsyncSession, token: str) -> None:
    """Bring the old address back: every session ends, and a link to set a new password is mailed to it.

    The password works no more: whoever asked for the change knew it, and could sign in again at once. That mail is owed
    to whoever holds the link, so no budget that strangers can spend keeps it back.

    Raises:
        InvalidToken: as for `mailing.look_up`; or the old address has become another account's, which has proven it.
    """
    link, _ = await mailing.look_up(db, token, MailPurpose.undo)
    async with released(db):
        nobodys = await hash_password(secrets.token_urlsafe(32))  # a real one: refusing by it takes the usual time
    user = await users.lock_row(db, link.user_id)
    if user is None or not await mail_token.use(db, link.id):
        raise InvalidToken
    if user.email != link.email:
        await _evict(db, user, link.email)
        if not await users.move(db, user, link.email):
            raise InvalidToken
    await users.update(db, db_obj=user, obj_in={"hashed_password": nobodys})
    await _forget_links(db, user)
    await mail_token.drop_undo_since(db, user.id, link.id)
    await sessions.end_all(db, user.id, reason="email_change_undone", actor=user.id)
    await user_cache.changed(db, user.id)
    await audit.record(db, Action.email_change_undone, actor=user.id, target=user.id)
    await recovery.promise_reset(db, user, link.email)
    log.info("email_change_undone", user_id=str(user.id))


async def _forget_links(db: AsyncSession, user: User) -> None:
    """Make void what was promised while the account had another address."""
    await mail_token.drop(db, user.id, MailPurpose.verify, MailPurpose.claim, MailPurpose.reset, MailPurpose.change)


async def _evict(db: AsyncSession, user: User, email: str) -> None:
    """Delete an account that was put at the old address meanwhile and never proved it: it would keep its owner out."""
    squatter = await users.get_by_email(db, email)
    if squatter is not None and not squatter.is_verified and not squatter.roles:
        await erasure.erase(db, squatter.id, actor=user.id)
