"""Promising mails: links whose token works once and for one purpose, notices, and the budget of an address."""

import hashlib
import hmac
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.context import origin
from app.core.errors import InvalidToken
from app.core.secrets import derive_key, key_id
from app.core.sql import new_id
from app.crud import mail_budget, mail_token
from app.models.background_task import TaskType
from app.models.base import fresh
from app.models.mail_budget import MailBudget
from app.models.mail_token import MailPurpose, MailToken
from app.models.user import User
from app.services import tasks, tokens

LIFE = {
    MailPurpose.verify: timedelta(hours=24),
    MailPurpose.claim: timedelta(hours=24),
    MailPurpose.reset: timedelta(minutes=30),
    MailPurpose.change: timedelta(hours=24),
    MailPurpose.undo: timedelta(hours=72),
}
BUDGET, BUDGET_SPAN = 5, timedelta(hours=1)


class Notice(StrEnum):
    """What an owner is told of their account's safety: the mails' names in the catalogue."""

    password_changed = "password_changed"  # noqa: S105 - a mail's name, no secret
    password_reset = "password_reset"  # noqa: S105 - a mail's name, no secret
    session_replayed = "session_replayed"
    new_device = "new_device"


async def within_budget(db: AsyncSession, address: str) -> bool:
    """Take one of the 5 mails an hour that strangers can cause to a canonical address; False when they are spent.

    It is taken whether the address has an account or not, over all routes together: whoever asks does the same work.
    Mails that only an owner can cause are not asked for here, so that no stranger can keep a warning from arriving.
    """
    now, name = utc_now(), _in_budget(address)
    *stood, this = await mail_budget.add(db, name, now=now)
    recent = [moment for moment in stood if datetime.fromisoformat(moment) > now - BUDGET_SPAN]
    has_room = len(recent) < BUDGET
    if recent != stood or not has_room:
        await mail_budget.keep(db, name, [*recent, this] if has_room else recent)
    return has_room


def first_promised(address: str) -> MailBudget:
    """That one mail of the budget was taken, of an address that was promised none before; still to be stored."""
    now = utc_now()
    return fresh(MailBudget, address=_in_budget(address), promised=[now.isoformat()], updated_at=now)


def _in_budget(address: str) -> str:
    return hmac.digest(derive_key("mail-budget"), address.encode(), hashlib.sha256).hex()


def new_link(purpose: MailPurpose, user_id: UUID, email: str) -> MailToken:
    """A link that is still to be stored: it proves `email`, or brings it back."""
    return fresh(
        MailToken,
        id=new_id(),
        user_id=user_id,
        purpose=purpose,
        email=email,
        key_id=key_id(),
        salt=tokens.new_salt(),
        expires_at=utc_now() + LIFE[purpose],
    )


async def store(db: AsyncSession, link: MailToken) -> None:
    """Store the first link of its purpose, for an account that is waiting to be verified."""
    await mail_token.add_for_account(db, link, verified=False)


async def renew(db: AsyncSession, link: MailToken, *, verified: bool | None = None) -> None:
    """Store the link in the place of those of its purpose, if its account is there, active, and `verified` or not."""
    await mail_token.drop(db, link.user_id, MailPurpose(link.purpose))
    await mail_token.add_for_account(db, link, verified=verified)


async def look_up(db: AsyncSession, presented: str, *purposes: MailPurpose) -> tuple[MailToken, User]:
    """The living link of a token for one of these purposes, and its account. It is not used up by this.

    Raises:
        InvalidToken: it is not ours, for another purpose, too old, used, or made void by a newer one.
    """
    parsed = tokens.parse_mail_token(presented)
    found = await mail_token.get_with_user(db, parsed[0]) if parsed else None
    if parsed is None or found is None or not tokens.mail_mac_matches(found[0], parsed[1]):
        raise InvalidToken
    if found[0].purpose not in purposes or found[0].expires_at <= utc_now():
        raise InvalidToken
    return found


async def tell(db: AsyncSession, user: User, notice: Notice) -> None:
    """Promise the owner a notice, with the time and the address that the request came from."""
    came = origin.get()
    at = utc_now().strftime("%Y-%m-%d %H:%M UTC")
    await tasks.enqueue(
        db,
        TaskType.security_notice,
        owner=user,
        user_id=user.id,
        notice=notice,
        at=at,
        ip=(came.ip if came else None) or "?",
    )
