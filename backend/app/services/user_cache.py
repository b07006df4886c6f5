"""The guide's cache: a user's public form in Redis, typed, expiring, dropped on change.

It serves what may be a few minutes old and is asked often by id. What a token may do never comes from here.
"""

from datetime import timedelta
from uuid import UUID

from pydantic import ValidationError
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core import redis
from app.core.after_commit import on_commit
from app.crud import change
from app.schemas.users import UserResponse

LIFE = timedelta(minutes=5)
BUDGET = 0.25  # seconds; Redis only makes it faster


async def get_user_cache(user_id: UUID) -> UserResponse | None:
    """The cached user; None when there is none, it does not fit any more, or Redis does not answer."""

    async def get() -> str | bytes | None:
        return await redis.redis_client().get(await _key(user_id))

    stored = await redis.within(BUDGET, get())
    try:
        return UserResponse.model_validate_json(stored) if stored else None
    except ValidationError:
        return None


async def set_user_cache(user: UserResponse) -> None:
    """Keep `user` for five minutes."""

    async def put() -> None:
        await redis.redis_client().set(await _key(user.id), user.model_dump_json(), ex=int(LIFE.total_seconds()))

    await redis.within(BUDGET, put())


async def drop_user_cache(user_id: UUID) -> None:
    """Forget the user."""

    async def drop() -> None:
        await redis.redis_client().delete(await _key(user_id))

    await redis.within(BUDGET, drop())


async def changed(db: AsyncSession, user_id: UUID) -> None:
    """Say in the feed that what was known of this account is old, and drop the cached copy once that is true."""
    await change.record(db, change.USER, user_id)
    on_commit(db, f"drop_user_cache:{user_id}", lambda: drop_user_cache(user_id))


async def _key(user_id: UUID) -> str:
    return await redis.key(f"user:{user_id}")
