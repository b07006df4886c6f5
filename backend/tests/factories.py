"""Makes what lies in the past, straight through the models. What a client can do itself goes through `flows.py`."""

import secrets
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.security import hash_password
from app.models import BackgroundTask, TaskStatus, TaskType, User, UserSession
from tests.flows import PASSWORD, new_email

Row = TypeVar("Row")
_hashes: dict[str, str] = {}


async def password_hash(password: str = PASSWORD) -> str:
    """The real Argon2 hash, computed once a process and password."""
    if password not in _hashes:
        _hashes[password] = await hash_password(password)
    return _hashes[password]


def ago(**span: float) -> datetime:
    """`ago(days=3)`"""
    return utc_now() - timedelta(**span)


async def make_user(db: AsyncSession, *, password: str = PASSWORD, **fields: Any) -> User:
    """A user who can sign in with `password`; verified unless `is_verified=False`."""
    given = {"email": new_email(), "is_verified": True, **fields}
    return await _store(db, User(hashed_password=await password_hash(password), **given))


async def make_task(db: AsyncSession, owner: User | None = None, **fields: Any) -> BackgroundTask:
    """A task that finished long ago, unless `fields` say otherwise."""
    given: dict[str, Any] = {
        "task_type": TaskType.verify_email,
        "task_data": {"user_id": str(owner.id)} if owner else {},
        "status": TaskStatus.succeeded,
        "user_id": owner.id if owner else None,
        "run_at": ago(days=3),
        "created_at": ago(days=3),
        "started_at": ago(days=3),
        "completed_at": ago(days=3),
        **fields,
    }
    return await _store(db, BackgroundTask(**given))


async def make_session(db: AsyncSession, owner: User, **fields: Any) -> UserSession:
    """A sign-in of a week ago, still open. Its tokens are known to nobody: sign in to have some."""
    given: dict[str, Any] = {
        "session_token": secrets.token_hex(32),
        "key_id": "none",
        "salt": secrets.token_bytes(16),
        "created_at": ago(days=7),
        "rotated_at": ago(days=7),
        "authenticated_at": ago(days=7),
        "last_used_at": ago(days=7),
        "expires_at": ago(days=-7),
        **fields,
    }
    return await _store(db, UserSession(user_id=owner.id, **given))


async def _store(db: AsyncSession, row: Row) -> Row:
    db.add(row)
    await db.commit()
    return row
