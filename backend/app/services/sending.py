"""What the worker mails. Each reads its row anew: a link that was used or made void meanwhile is not sent."""

from uuid import UUID

from app.core import email as mail
from app.core.db import new_session
from app.crud import mail_token
from app.crud import user as users
from app.models.mail_token import MailPurpose, MailToken
from app.models.user import User
from app.services import tokens

_PAGES = {
    MailPurpose.verify: "verify",
    MailPurpose.claim: "verify",
    MailPurpose.change: "verify",
    MailPurpose.reset: "reset",
    MailPurpose.undo: "undo",
}


async def send_newest(user_id: UUID, purpose: MailPurpose, *, message_id: UUID) -> None:
    """Send the newest link of that purpose, if the account still waits for one. Nothing is held while mailing."""
    async with new_session(read_only=True) as db:
        row, user = await mail_token.newest(db, user_id, purpose), await users.get(db, user_id)
    if row and user:
        await _send_link(row, user, purpose, message_id)


async def send_link(token_id: UUID, name: str, *, message_id: UUID) -> None:
    """Send one link, in the words of the mail `name`."""
    async with new_session(read_only=True) as db:
        found = await mail_token.get_with_user(db, token_id)
    if found:
        await _send_link(*found, name, message_id)


async def send_to_owner(user_id: UUID, name: str, *, message_id: UUID, **values: str) -> None:
    """Send the mail `name` to an account's own address."""
    async with new_session(read_only=True) as db:
        user = await users.get(db, user_id)
    if user:
        await mail.send(
            mail.render(
                name, user.email, message_id=message_id, language=user.locale, full_name=user.full_name, **values
            )
        )


async def _send_link(row: MailToken, user: User, name: str, message_id: UUID) -> None:
    link = mail.page_link(_PAGES[MailPurpose(row.purpose)], tokens.mail_token(row))
    await mail.send(mail.render(name, row.email, message_id=message_id, language=user.locale, link=link))
