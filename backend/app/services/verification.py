"""Proving an address: a link by mail, promised as a task, taken by POST. A GET never consumes one."""

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config import settings
from app.core.errors import InvalidToken
from app.core.sql import new_id
from app.crud import mail_token
from app.crud import user as users
from app.models.audit import Action
from app.models.background_task import BackgroundTask, TaskType
from app.models.mail_token import MailPurpose, MailToken
from app.models.user import User
from app.schemas.users import UserCreate
from app.services import access, addresses, audit, mailing, sessions, tasks, user_cache

log = structlog.get_logger()


# --- promising a link -----------------------------------------------------------------------------------------------


def promised(user: User) -> tuple[MailToken, BackgroundTask]:
    """What promises a new account its verification mail, still to be stored: the link, and the mail."""
    link = mailing.new_link(MailPurpose.verify, user.id, user.email)
    return link, tasks.new(TaskType.verify_email, owner=user, user_id=user.id)


async def promise(db: AsyncSession, user: User) -> None:
    """Promise a new account its verification mail."""
    if await mailing.within_budget(db, user.email):
        link, task = promised(user)
        await mailing.store(db, link)
        await tasks.add(db, task)


async def resend(db: AsyncSession, email: str) -> None:
    """Promise another verification mail, where an account waits for one. The work is the same where none does."""
    user = await users.get_by_email(db, email, held=True)
    whose = user.id if user else None
    if await mailing.within_budget(db, email):
        user_id = user.id if user else new_id()
        await mailing.renew(db, mailing.new_link(MailPurpose.verify, user_id, email), verified=False)
        await tasks.enqueue(db, TaskType.verify_email, owner=user, user_id=user_id)
    await audit.record(db, Action.verification_asked, actor=None, target=whose, owner=whose)


async def register_quietly(db: AsyncSession, new: UserCreate, hashed: str, made: User | None) -> None:
    """Go on with a registration that must not tell who exists: the same statements for a new and for a taken address.

    `made` is the new account. A second registration of an address that was never verified changes nothing now: it
    waits, with its own password and name, for its own mailed token. Otherwise the owner is told.
    """
    owner = await users.get_by_email(db, new.email, held=True)
    user_id = owner.id if owner else new_id()
    if await mailing.within_budget(db, new.email):
        link = mailing.new_link(MailPurpose.verify if made else MailPurpose.claim, user_id, new.email)
        if made is None:
            link.hashed_password, link.full_name = hashed, new.full_name
        waits = await mail_token.add_for_account(db, link, verified=False)
        if made or not waits:
            told = TaskType.verify_email if made else TaskType.email_taken
            await tasks.enqueue(db, told, owner=owner, user_id=user_id)
        else:
            await tasks.enqueue(db, TaskType.claim_email, owner=owner, token_id=link.id)
    if made:
        await audit.record(db, Action.user_registered, actor=user_id, target=user_id)
    else:
        whose = owner.id if owner else None
        await audit.record(db, Action.address_registered_again, actor=None, target=whose, owner=whose)


# --- taking it ------------------------------------------------------------------------------------------------------


async def verify_email(db: AsyncSession, token: str) -> None:
    """Take the token of a mail that proves an address: an account's own, a later registration's, or a new address's.

    Raises:
        InvalidToken: it is not ours, too old, used, or made void by a newer one.
    """
    link, _ = await mailing.look_up(db, token, MailPurpose.verify, MailPurpose.claim, MailPurpose.change)
    if link.purpose == MailPurpose.change:
        await addresses.move(db, link)
    else:
        await _prove(db, link)


async def _prove(db: AsyncSession, link: MailToken) -> None:
    is_claim = link.purpose == MailPurpose.claim
    user = await users.lock_row(db, link.user_id)
    if user is None or user.email != link.email or not user.is_active or (is_claim and user.is_verified):
        raise InvalidToken
    if not await mail_token.use(db, link.id):
        raise InvalidToken
    proven = {"is_verified": True}
    claimed = {"hashed_password": link.hashed_password, "full_name": link.full_name} if is_claim else {}
    await users.update(db, db_obj=user, obj_in={**proven, **claimed})
    await mail_token.drop(db, user.id, MailPurpose.verify, MailPurpose.claim)
    if is_claim or access.needs_verified_email():  # who came in before the address was proven was not its owner
        await mail_token.drop(db, user.id, MailPurpose.change)
        await sessions.end_all(db, user.id, reason="verified", actor=user.id)
    await user_cache.changed(db, user.id)
    await audit.record(db, Action.email_verified, actor=user.id, target=user.id)
    if settings.send_welcome_email:
        await tasks.enqueue(db, TaskType.welcome_email, owner=user, user_id=user.id)
    log.info("email_verified", user_id=str(user.id), claimed=is_claim)
