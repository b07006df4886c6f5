"""Proving an address: a link by mail, promised as a task, taken by POST. A GET never consumes one."""

from datetime import timedelta
from uuid import UUID

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core import email as mail
from app.core.clock import utc_now
from app.core.config import settings
from app.core.db import new_session
from app.core.errors import InvalidToken
from app.core.secrets import key_id
from app.crud import mail_token
from app.crud import user as users
from app.models.background_task import TaskType
from app.models.mail_token import MailPurpose, MailToken
from app.models.user import User
from app.services import tasks, tokens, user_cache

VERIFY_LIFE = timedelta(hours=24)
log = structlog.get_logger()


async def tell_owner(db: AsyncSession, email: str) -> None:
    """Tell the owner of a taken address by mail: that it has an account, or how to verify it."""
    owner = await users.get_by_email(db, email)
    if owner is None:
        return
    if owner.is_verified:
        await tasks.enqueue(db, TaskType.email_taken, owner=owner, user_id=owner.id)
    else:
        await mail_token.drop(db, owner.id, MailPurpose.verify)
        await promise(db, owner)


async def promise(db: AsyncSession, user: User) -> None:
    """Promise a verification mail, with the change that asks for it."""
    await mail_token.add(
        db,
        MailToken(
            user_id=user.id,
            purpose=MailPurpose.verify,
            email=user.email,
            key_id=key_id(),
            salt=tokens.new_salt(),
            expires_at=utc_now() + VERIFY_LIFE,
        ),
    )
    await tasks.enqueue(db, TaskType.verify_email, owner=user, user_id=user.id)


async def send_verification(user_id: UUID, *, message_id: UUID) -> None:
    """Send the newest verification link, if the account still waits for one. No connection is held while mailing."""
    async with new_session(read_only=True) as db:
        row = await mail_token.newest(db, user_id, MailPurpose.verify)
    if row is not None:
        await mail.send_verification_email(row.email, tokens.mail_token(row), message_id=message_id)


async def tell_email_taken(user_id: UUID, *, message_id: UUID) -> None:
    """Tell the owner of an address that it was used to register."""
    async with new_session(read_only=True) as db:
        user = await users.get(db, user_id)
    if user is not None:
        await mail.send_email_taken(user.email, message_id=message_id)


async def welcome(user_id: UUID, *, message_id: UUID) -> None:
    """Welcome an account by mail."""
    async with new_session(read_only=True) as db:
        user = await users.get(db, user_id)
    if user is not None:
        await mail.send_welcome(user.email, user.full_name, message_id=message_id)


async def verify_email(db: AsyncSession, token: str) -> None:
    """Take the token of a verification mail.

    Raises:
        InvalidToken: it is not ours, too old, used, or made void by a newer one.
    """
    parsed = tokens.parse_mail_token(token)
    row = await mail_token.get(db, parsed[0]) if parsed else None
    if (
        parsed is None
        or row is None
        or not tokens.mail_mac_matches(row, parsed[1])
        or row.purpose != MailPurpose.verify
    ):
        raise InvalidToken
    if row.expires_at <= utc_now() or not await mail_token.use(db, row.id):
        raise InvalidToken
    user = await users.verify(db, row.user_id, row.email)
    if user is None:
        raise InvalidToken
    await user_cache.changed(db, user.id)
    if settings.send_welcome_email:
        await tasks.enqueue(db, TaskType.welcome_email, owner=user, user_id=user.id)
    log.info("email_verified", user_id=str(user.id))
