"""Rotations of refresh tokens, many in two statements that commit by themselves. On PostgreSQL alone."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Integer, String, Uuid, bindparam, column, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import col

from app.core.direct import Direct
from app.core.sql import UTCDateTime
from app.models.user import User
from app.models.user_session import UserSession


class Living(NamedTuple):
    """A session that stands, and so does its account."""

    id: UUID
    user_id: UUID
    key_id: str
    salt: bytes
    generation: int
    created_at: datetime


class Turn(NamedTuple):
    """What makes the generation after `spent` the current one."""

    session_id: UUID
    spent: int
    session_token: str
    expires_at: datetime


async def living(connection: Any, session_ids: Sequence[UUID], *, now: datetime) -> dict[UUID, Living]:
    """Of these sessions, those that stand."""
    found = [Living(*row) for row in await _living().all(connection, ids=session_ids, now=now)]
    return {one.id: one for one in found}


async def turn(connection: Any, turns: Sequence[Turn], *, now: datetime) -> set[UUID]:
    """Turn sessions, each one once; those that were turned.

    Not those that somebody else turned or ended, nor those that another transaction holds: nobody waits for them.
    """
    ids, spent, tokens, until = zip(*turns, strict=True)
    return {row[0] for row in await _turn().all(connection, ids=ids, spent=spent, tokens=tokens, until=until, now=now)}


@lru_cache(maxsize=1)
def _living() -> Direct:
    return Direct(
        select(*(col(getattr(UserSession, name)) for name in Living._fields))
        .join(User, col(User.id) == col(UserSession.user_id))
        .where(
            col(UserSession.id) == func.any(bindparam("ids", type_=ARRAY(Uuid))),
            col(UserSession.revoked_at).is_(None),
            col(UserSession.expires_at) > bindparam("now"),
            col(User.is_active),
        )
    )


@lru_cache(maxsize=1)
def _turn() -> Direct:
    now: Any = bindparam("now")
    arrays = {"ids": Uuid, "spent": Integer, "tokens": String, "until": UTCDateTime}
    given = func.unnest(*(bindparam(name, type_=ARRAY(kind)) for name, kind in arrays.items()))
    turned = given.table_valued(*(column(name, kind) for name, kind in arrays.items()), name="turned").render_derived()
    free = (
        select(turned)
        .join(UserSession, col(UserSession.id) == turned.c.ids)
        .where(col(UserSession.generation) == turned.c.spent, col(UserSession.revoked_at).is_(None))
        .with_for_update(of=UserSession, skip_locked=True)
        .cte("free")
    )
    return Direct(
        update(UserSession)
        .where(col(UserSession.id) == free.c.ids)
        .values(
            generation=free.c.spent + 1,
            session_token=free.c.tokens,
            rotated_at=now,
            last_used_at=now,
            expires_at=free.c.until,
        )
        .returning(col(UserSession.id))
    )
