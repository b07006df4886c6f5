"""The guide's cache: `user:{id}` in Redis says who is behind an account's session, to a process that has not met it.

The database is asked once for all processes. Redis may have slept, been restored or written to by somebody else, so it
is not believed: each copy says what the database could see when it was read, and is used only where that is all that
this process was told of (`app.services.told`), less than a second ago; and it is sealed by a key of the root secret.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from redis.asyncio import RedisCluster
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core import redis
from app.core.after_commit import on_commit
from app.core.redis_budget import Breaker
from app.core.secrets import derive_key
from app.crud import change
from app.crud.change import Place
from app.schemas.principal import Principal
from app.services import feed

LIFE = timedelta(minutes=5)
BUDGET = 0.25  # seconds for what no request waits for
_SEAL = 32  # characters


class Whose(NamedTuple):
    """A session, and the account that its token names."""

    user_id: UUID
    session_id: UUID


@dataclass(frozen=True, slots=True)
class _Copy:
    principal: Principal
    place: Place


async def get_user_cache(asked: Sequence[Whose]) -> dict[Whose, Principal]:
    """What Redis says of these that can be used. Nothing where it does not answer in time."""

    async def get() -> Sequence[Any]:
        client = redis.redis_client()
        of_all = client.mget_nonatomic if isinstance(client, RedisCluster) else client.mget
        return await of_all([await _key(one.user_id) for one in asked])

    try:
        found = await _breaker(asyncio.get_running_loop()).ask(get) or ()
    except UnicodeDecodeError:  # somebody else wrote it
        return {}
    copies = ((one, _usable(one, stored)) for one, stored in zip(asked, found, strict=False))
    return {one: principal for one, principal in copies if principal}


def _usable(whose: Whose, stored: str | None) -> Principal | None:
    """What a copy says, if it is of this session, ours, and knows all that this process was told."""
    if not stored or not hmac.compare_digest(stored[:_SEAL].encode(), _seal(stored[_SEAL:]).encode()):
        return None
    try:
        copy = _copies().validate_json(stored[_SEAL:])
    except ValidationError:  # of another version of the code
        return None
    of = copy.principal
    return of if (of.id, of.session_id) == whose and feed.knows(copy.place, whose) else None


async def set_user_cache(principals: Sequence[Principal], place: Place) -> None:
    """Put what the database said at `place` where the other processes find it, for five minutes."""

    async def put() -> None:
        pipe = redis.redis_client().pipeline(transaction=False)
        for one in principals:
            said = _copies().dump_json(_Copy(one, place)).decode()
            pipe.set(await _key(one.id), _seal(said) + said, ex=LIFE)
        await pipe.execute()

    if principals and _breaker(asyncio.get_running_loop()).is_closed():
        await redis.within(BUDGET, put())


async def drop_user_cache(user_id: UUID) -> None:
    """Forget the account."""

    async def drop() -> None:
        await redis.redis_client().delete(await _key(user_id))

    await redis.within(BUDGET, drop())


async def changed(db: AsyncSession, user_id: UUID) -> None:
    """Say in the feed that what was known of this account is old, and drop the cached copy once that is true."""
    await change.record(db, change.USER, user_id)
    on_commit(db, f"drop_user_cache:{user_id}", lambda: drop_user_cache(user_id))


def _seal(said: str) -> str:
    return hashlib.blake2b(said.encode(), key=derive_key("user-cache"), digest_size=_SEAL // 2).hexdigest()


@lru_cache(maxsize=2)
def _breaker(_loop: asyncio.AbstractEventLoop) -> Breaker:
    return Breaker("user_cache")


@lru_cache(maxsize=1)
def _copies() -> TypeAdapter[_Copy]:
    return TypeAdapter(_Copy)


async def _key(user_id: UUID) -> str:
    return await redis.key(f"user:{user_id}")
