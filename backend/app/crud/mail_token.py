from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, literal
from sqlalchemy import select as columns_of
from sqlmodel import col, delete, insert, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.crud import purging
from app.models.mail_token import MailPurpose, MailToken
from app.models.user import User


async def add_for_account(db: AsyncSession, token: MailToken, *, verified: bool | None = None) -> bool:
    """Add the token if its account is there and active, and its address verified or not as `verified` says.

    One statement in any case, so that nobody can tell from the work which it was.
    """
    table = MailToken.__table__  # type: ignore[attr-defined]  # SQLModel sets it on every table class
    values = [literal(getattr(token, column.key), column.type) for column in table.columns]
    account = columns_of(*values).where(col(User.id) == token.user_id, col(User.is_active).is_(True))
    if verified is not None:
        account = account.where(col(User.is_verified).is_(verified))
    return (await db.exec(insert(MailToken).from_select(list(table.columns), account))).rowcount == 1


async def drop(db: AsyncSession, user_id: UUID, *purposes: MailPurpose) -> None:
    """Make the links void that were promised for these purposes before."""
    await db.exec(delete(MailToken).where(col(MailToken.user_id) == user_id, col(MailToken.purpose).in_(purposes)))


async def drop_undo(db: AsyncSession, user_id: UUID, email: str) -> None:
    """Make the links void that bring this address back. Those of other addresses stand beside each other."""
    await db.exec(delete(MailToken).where(*_undo(user_id), col(MailToken.email) == email))


async def drop_undo_since(db: AsyncSession, user_id: UUID, token_id: UUID) -> None:
    """Make the links void that bring later addresses back."""
    await db.exec(delete(MailToken).where(*_undo(user_id), col(MailToken.id) > token_id))


async def prolong_undo(db: AsyncSession, user_id: UUID, email: str, until: datetime) -> UUID | None:
    """Have the link that brings this address back live until then; its id, or None when there is none."""
    statement = update(MailToken).where(*_undo(user_id), col(MailToken.email) == email).values(expires_at=until)
    return (await db.exec(statement.returning(col(MailToken.id)))).scalars().first()


def _undo(user_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return col(MailToken.user_id) == user_id, col(MailToken.purpose) == MailPurpose.undo


async def get(db: AsyncSession, token_id: UUID) -> MailToken | None:
    return (await db.exec(select(MailToken).where(MailToken.id == token_id))).first()


async def get_with_user(db: AsyncSession, token_id: UUID) -> tuple[MailToken, User] | None:
    return (await db.exec(select(MailToken, User).join(User).where(MailToken.id == token_id))).first()


async def newest(db: AsyncSession, user_id: UUID, purpose: MailPurpose) -> MailToken | None:
    statement = select(MailToken).where(MailToken.user_id == user_id, MailToken.purpose == purpose)
    return (await db.exec(statement.order_by(col(MailToken.id).desc()).limit(1))).first()


async def use(db: AsyncSession, token_id: UUID) -> bool:
    """Spend the token. Of two that do it at once, one is told True."""
    return (await db.exec(delete(MailToken).where(col(MailToken.id) == token_id))).rowcount == 1


async def purge(db: AsyncSession, *, before: datetime) -> int:
    return await purging.purge(db, MailToken, col(MailToken.expires_at) < before)
