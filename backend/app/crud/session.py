from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement
from sqlmodel import col, func, insert, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db import reading
from app.core.sql import one_of
from app.crud import purging
from app.crud.pages import only, page
from app.models.user import User
from app.models.user_session import UserSession
from app.schemas.pages import Page, Window

_WITHOUT_TOKENS = only(
    UserSession.created_at, UserSession.last_used_at, UserSession.expires_at, UserSession.ip, UserSession.user_agent
)


async def add(db: AsyncSession, session: UserSession, *, now: datetime) -> int:
    """Add a session; about how many the account is signed in with (SQLite may count this one or not)."""
    others = select(func.count()).where(*living_of(session.user_id, now)).scalar_subquery()
    added = await db.exec(insert(UserSession).values(**session.model_dump()).returning(others))
    return int(added.scalar_one())


async def get(db: AsyncSession, session_id: UUID) -> UserSession | None:
    return await db.get(UserSession, session_id, populate_existing=True)


async def get_with_user(db: AsyncSession, session_id: UUID) -> tuple[UserSession, User] | None:
    statement = select(UserSession, User).join(User).where(UserSession.id == session_id)
    return (await db.exec(statement.execution_options(populate_existing=True))).first()


async def standing(session_ids: Sequence[UUID], *, now: datetime) -> set[UUID]:
    """Of these sessions, at most 500, those that stand: not ended, and their account there and active."""
    statement = (
        select(UserSession.id)
        .join(User)
        .where(
            one_of(col(UserSession.id), session_ids),
            col(UserSession.revoked_at).is_(None),
            col(UserSession.expires_at) > now,
            col(User.is_active),
        )
    )
    async with reading() as connection:
        return set((await connection.execute(statement)).scalars())


async def rotate(
    db: AsyncSession, session: UserSession, *, session_token: str, now: datetime, expires_at: datetime
) -> bool:
    """Make the next generation the current one; False when somebody else did, or the session ended."""
    changed = await db.exec(
        update(UserSession)
        .where(
            col(UserSession.id) == session.id,
            col(UserSession.generation) == session.generation,
            col(UserSession.revoked_at).is_(None),
        )
        .values(
            generation=session.generation + 1,
            session_token=session_token,
            rotated_at=now,
            last_used_at=now,
            expires_at=expires_at,
        )
        .execution_options(synchronize_session=False)
    )
    return changed.rowcount == 1


async def living(db: AsyncSession, user_id: UUID, window: Window, *, now: datetime) -> Page[UserSession]:
    """A user's sessions that have not ended, without what their tokens are made of."""
    statement = select(UserSession).where(*living_of(user_id, now)).options(_WITHOUT_TOKENS)
    return await page(db, statement, UserSession.id, window)


async def lives(db: AsyncSession, user_id: UUID, session_id: UUID, *, now: datetime) -> bool:
    statement = select(UserSession.id).where(*living_of(user_id, now), UserSession.id == session_id)
    return (await db.exec(statement)).first() is not None


async def revoke(db: AsyncSession, user_id: UUID, session_id: UUID, reason: str, *, now: datetime) -> bool:
    """End a session of that user; False when it had ended, or is gone."""
    return bool(await _revoke(db, reason, now, *living_of(user_id, now), col(UserSession.id) == session_id))


async def revoke_all(db: AsyncSession, user_id: UUID, *, but: UUID | None, reason: str, now: datetime) -> list[UUID]:
    """End a user's sessions, except one; the ids of those that this ended."""
    others = [col(UserSession.id) != but] if but else []
    return await _revoke(db, reason, now, *living_of(user_id, now), *others)


async def revoke_oldest(db: AsyncSession, user_id: UUID, *, but: UUID, keep: int, now: datetime) -> list[UUID]:
    """End a user's sessions but one and the `keep` others that were used last; the ids of those that this ended."""
    used = (col(UserSession.last_used_at).desc(), col(UserSession.id).desc())
    others = (*living_of(user_id, now), col(UserSession.id) != but)
    too_many = select(UserSession.id).where(*others).order_by(*used).offset(keep)
    return await _revoke(db, "displaced", now, *living_of(user_id, now), col(UserSession.id).in_(too_many))


def living_of(user_id: Any, now: Any) -> tuple[ColumnElement[bool], ...]:
    """The conditions of an account's sessions that stand; ids and times, or what binds them."""
    return (
        col(UserSession.user_id) == user_id,
        col(UserSession.revoked_at).is_(None),
        col(UserSession.expires_at) > now,
    )


async def _revoke(db: AsyncSession, reason: str, now: datetime, *which: ColumnElement[bool]) -> list[UUID]:
    statement = (
        update(UserSession)
        .where(*which)
        .values(revoked_at=now, revoked_reason=reason)
        .returning(col(UserSession.id))
        .execution_options(synchronize_session=False)
    )
    return list((await db.exec(statement)).scalars())


async def authenticated(db: AsyncSession, session_id: UUID, *, now: datetime) -> bool:
    """The password was given again; False when the session has ended meanwhile."""
    changed = await db.exec(
        update(UserSession)
        .where(col(UserSession.id) == session_id, col(UserSession.revoked_at).is_(None))
        .values(authenticated_at=now)
        .execution_options(synchronize_session=False)
    )
    return changed.rowcount == 1


async def purge(db: AsyncSession, *, before: datetime) -> int:
    """Delete sessions that ended on their own before that time."""
    return await purging.purge(db, UserSession, col(UserSession.expires_at) < before)
