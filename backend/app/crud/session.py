from datetime import datetime
from uuid import UUID

from sqlmodel import col, delete, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.user import User
from app.models.user_session import UserSession


async def add(db: AsyncSession, session: UserSession) -> UserSession:
    db.add(session)
    await db.flush()
    return session


async def get(db: AsyncSession, session_id: UUID) -> UserSession | None:
    return await db.get(UserSession, session_id, populate_existing=True)


async def get_with_user(db: AsyncSession, session_id: UUID) -> tuple[UserSession, User] | None:
    statement = select(UserSession, User).join(User).where(UserSession.id == session_id)
    return (await db.exec(statement.execution_options(populate_existing=True))).first()


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


async def revoke(db: AsyncSession, session_id: UUID, *, reason: str, now: datetime) -> bool:
    """End a session; False when it had ended, or is gone."""
    changed = await db.exec(
        update(UserSession)
        .where(col(UserSession.id) == session_id, col(UserSession.revoked_at).is_(None))
        .values(revoked_at=now, revoked_reason=reason)
        .execution_options(synchronize_session=False)
    )
    return changed.rowcount == 1


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
    return (await db.exec(delete(UserSession).where(col(UserSession.expires_at) < before))).rowcount
