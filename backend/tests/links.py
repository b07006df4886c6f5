"""The links that mails carry, taken from their rows: what the mailbox of the address would show."""

from sqlmodel import col, select

from app.core.db import new_session
from app.crud import user as users
from app.models import BackgroundTask, MailPurpose, MailToken, TaskType
from app.services import tokens


async def promised(email: str, purpose: MailPurpose = MailPurpose.verify) -> list[MailToken]:
    """The links of the account that has this address, the oldest first."""
    async with new_session(read_only=True) as db:
        user = await users.get_by_email(db, email)
        assert user is not None
        statement = select(MailToken).where(MailToken.user_id == user.id, MailToken.purpose == purpose)
        return list((await db.exec(statement.order_by(col(MailToken.id)))).all())


async def newest(email: str, purpose: MailPurpose = MailPurpose.verify) -> MailToken:
    return (await promised(email, purpose))[-1]


async def token_of(email: str, purpose: MailPurpose = MailPurpose.verify) -> str:
    """The token in the newest mail of that purpose."""
    return tokens.mail_token(await newest(email, purpose))


async def mails_of(email: str) -> list[str]:
    """What mails were promised to the account that has this address, the oldest first: types, and notices by name."""
    async with new_session(read_only=True) as db:
        user = await users.get_by_email(db, email)
        assert user is not None
        statement = select(BackgroundTask).where(BackgroundTask.user_id == user.id).order_by(col(BackgroundTask.id))
        rows = (await db.exec(statement)).all()
    return [row.task_data["notice"] if row.task_type == TaskType.security_notice else row.task_type for row in rows]
