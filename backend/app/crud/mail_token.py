from datetime import datetime
from uuid import UUID

from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.mail_token import MailPurpose, MailToken


async def add(db: AsyncSession, token: MailToken) -> MailToken:
    db.add(token)
    await db.flush()
    return token


async def drop(db: AsyncSession, user_id: UUID, purpose: MailPurpose) -> None:
    """Make the links void that were promised before."""
    await db.exec(delete(MailToken).where(col(MailToken.user_id) == user_id, col(MailToken.purpose) == purpose))


async def get(db: AsyncSession, token_id: UUID) -> MailToken | None:
    return (await db.exec(select(MailToken).where(MailToken.id == token_id))).first()


async def newest(db: AsyncSession, user_id: UUID, purpose: MailPurpose) -> MailToken | None:
    statement = select(MailToken).where(MailToken.user_id == user_id, MailToken.purpose == purpose)
    return (await db.exec(statement)).first()


async def use(db: AsyncSession, token_id: UUID) -> bool:
    """Spend the token. Of two that do it at once, one is told True."""
    return (await db.exec(delete(MailToken).where(col(MailToken.id) == token_id))).rowcount == 1


async def purge(db: AsyncSession, *, before: datetime) -> int:
    return (await db.exec(delete(MailToken).where(col(MailToken.expires_at) < before))).rowcount
