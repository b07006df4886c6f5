from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import insert_new
from app.models.base import fresh
from app.models.user import UNPROVEN, User
from app.models.user_session import UserSession
from app.schemas.users import UserCreate, UserUpdate, canonical_email


async def get(db: AsyncSession, user_id: UUID) -> User | None:
    return await db.get(User, user_id)


async def get_by_email(db: AsyncSession, email: str, *, held: bool = False) -> User | None:
    """The account of an address, in any letter case or Unicode form; where `held`, it stays until the commit."""
    try:
        canonical = canonical_email(email)
    except ValueError:
        return None
    statement = select(User).where(User.email == canonical)
    if held:
        statement = statement.with_for_update(read=True, key_share=True)
    return (await db.exec(statement)).first()


def new(obj_in: UserCreate, hashed_password: str, **values: Any) -> User:
    """An account that is still to be stored: every field of `obj_in` that an account has, and these values."""
    given = {name: getattr(obj_in, name) for name in type(obj_in).model_fields if name in User.model_fields}
    return fresh(User, **{**given, "hashed_password": hashed_password, **values})


async def create(db: AsyncSession, *, obj_in: UserCreate, hashed_password: str, **values: Any) -> User | None:
    """A new account, or None when the address has one. The password of `obj_in` is not looked at, only its hash."""
    return await add(db, new(obj_in, hashed_password, **values))


async def add(db: AsyncSession, user: User) -> User | None:
    """Store a new account; None when its address has one."""
    return user if await insert_new(db, user, conflict="email") else None


async def update(db: AsyncSession, *, db_obj: User, obj_in: UserUpdate | dict[str, Any]) -> User:
    """Set the fields that were given."""
    given = obj_in if isinstance(obj_in, dict) else obj_in.model_dump(exclude_unset=True)
    db_obj.sqlmodel_update(given)
    db.add(db_obj)
    await db.flush()
    return db_obj


async def lock_row(db: AsyncSession, user_id: UUID) -> User | None:
    """The account as it is now, which nobody else changes before the commit."""
    statement = select(User).where(User.id == user_id).with_for_update()
    return (await db.exec(statement.execution_options(populate_existing=True))).first()


async def move(db: AsyncSession, user: User, email: str) -> bool:
    """Give the account, whose row is locked, an address that has been proven; False when another has it."""
    try:
        async with db.begin_nested():
            await update(db, db_obj=user, obj_in={"email": email, "is_verified": True})
    except IntegrityError:
        return False
    return True


async def purge_unverified(db: AsyncSession, *, before: datetime, most: int) -> list[UUID]:
    """Delete accounts made before then whose address was never proven and that nobody is signed in to; their ids.

    One with a role stays: somebody answers for it, and it may be the last admin's.
    """
    signed_in = select(UserSession.id).where(UserSession.user_id == User.id).exists()
    old = (
        select(User.id)
        .where(UNPROVEN, col(User.created_at) < before, ~signed_in)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    statement = delete(User).where(col(User.id).in_(old), col(User.is_verified).is_(False))
    return list((await db.exec(statement.returning(col(User.id)))).scalars())


async def lock_if_unchanged(db: AsyncSession, user_id: UUID, hashed_password: str) -> User | None:
    """The account, locked, if it is active and its password is still the one that was checked."""
    statement = select(User).where(
        User.id == user_id, User.hashed_password == hashed_password, col(User.is_active).is_(True)
    )
    return (await db.exec(statement.with_for_update(key_share=True))).first()


async def lock(db: AsyncSession, user_id: UUID) -> bool:
    """Wait for sign-ins and changes of the account, and keep others out until the commit; False when it is gone."""
    statement = select(User.id).where(User.id == user_id).with_for_update(key_share=True)
    return (await db.exec(statement)).first() is not None


async def held(db: AsyncSession, user_id: UUID) -> User | None:
    """The account, which is not deleted before the commit."""
    statement = select(User).where(User.id == user_id).with_for_update(read=True, key_share=True)
    return (await db.exec(statement)).first()


async def hold(db: AsyncSession, user_id: UUID) -> bool:
    """See to it that the account is not deleted before the commit; False when it is gone."""
    statement = select(User.id).where(User.id == user_id).with_for_update(read=True, key_share=True)
    return (await db.exec(statement)).first() is not None


async def remove(db: AsyncSession, user_id: UUID) -> bool:
    """Delete the account; the database deletes all that hangs on it. False when it was gone."""
    return (await db.exec(delete(User).where(col(User.id) == user_id))).rowcount > 0
