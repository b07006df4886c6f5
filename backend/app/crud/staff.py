"""Looking after accounts: who holds a role, and finding one account among all."""

from uuid import UUID

from sqlalchemy import ColumnElement, func
from sqlmodel import and_, col, or_, select, true
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.permissions import Role
from app.core.sql import json_holds
from app.crud.pages import page, without
from app.models.user import HAS_ROLES, User
from app.schemas.pages import Page, Window
from app.schemas.users import canonical_email

MOST_WORDS = 8  # of a search; what follows is taken as one


async def is_active_admin(db: AsyncSession, user_id: UUID, *, lock: bool = False) -> bool:
    """Whether this account is one; with `lock` it stays what it is until the commit."""
    statement = select(User.is_active, User.roles).where(User.id == user_id)
    if lock:
        statement = statement.with_for_update(key_share=True)
    found = (await db.exec(statement)).first()
    return found is not None and found[0] and Role.admin in found[1]


async def lock_active_admins(db: AsyncSession) -> list[UUID]:
    """Every active admin, locked until the commit.

    They are locked in the order of their ids, so that no two wait for each other. One that stops being an admin while
    this waits for its row is not among them: PostgreSQL asks the condition again, and SQLite lets one write at a time.
    """
    statement = (
        select(User.id)
        .where(HAS_ROLES, json_holds(col(User.roles), Role.admin.value), col(User.is_active).is_(True))
        .order_by(col(User.id))
        .with_for_update(key_share=True)
    )
    return list((await db.exec(statement)).all())


async def find(
    db: AsyncSession, window: Window, *, text: str | None, is_active: bool | None, role: Role | None
) -> Page[User]:
    """Accounts, the newest first, that fit all that is given, without their passwords. Each has the role `user`."""
    statement = select(User).options(without(User.hashed_password))
    if text is not None:
        statement = statement.where(_named(text))
    if is_active is not None:
        statement = statement.where(col(User.is_active).is_(is_active))
    if role not in (None, Role.user):
        statement = statement.where(HAS_ROLES, json_holds(col(User.roles), role.value))
    return await page(db, statement, User.id, window)


def _named(text: str) -> ColumnElement[bool]:
    """A whole address is one account's, found by its index. Else each word is a part of the address or of the name.

    That reads accounts from the newest on until a page is full.
    """
    try:
        return col(User.email) == canonical_email(text)
    except ValueError:
        return and_(true(), *(_has_word(word) for word in text.split(maxsplit=MOST_WORDS - 1)))


def _has_word(word: str) -> ColumnElement[bool]:
    """In any letter case. A database's `lower` may know ASCII alone: others are looked for in the usual spellings."""
    name = col(User.full_name)
    spelt = {word, word.lower(), word.upper(), word.title()}
    return or_(
        col(User.email).contains(word.casefold(), autoescape=True),
        func.lower(name).contains(word.lower(), autoescape=True),
        *(name.contains(one, autoescape=True) for one in sorted(spelt)),
    )
