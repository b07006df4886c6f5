"""The hot path's statement: who is behind a session, outside the request's transaction, as it is committed now.

It begins after each request that waits for it has come, so that a session which ended before is dead for all of them.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Select, bindparam, select

from app.core.db import reading
from app.core.together import Together
from app.models.user import User
from app.models.user_session import UserSession
from app.schemas.principal import Principal


async def load(session_id: UUID) -> Principal | None:
    """The account and session; None when either is gone.

    Raises:
        TimeoutError: the database does not answer.
    """
    return await _together.answer(session_id)


async def _load(ids: Sequence[UUID]) -> Mapping[UUID, Principal]:
    async with reading() as connection:
        rows = (await connection.execute(_statement(), {"ids": ids})).all()
    found = (Principal(*row) for row in rows)
    return {one.session_id: one for one in found}


_together = Together(_load)


@lru_cache(maxsize=1)
def _statement() -> Select[Any]:
    users, sessions = User.__table__, UserSession.__table__  # type: ignore[attr-defined]  # set on every table class
    return (
        select(
            users.c.id,
            users.c.email,
            users.c.full_name,
            users.c.is_active,
            users.c.is_verified,
            users.c.roles,
            users.c.created_at,
            users.c.updated_at,
            sessions.c.id.label("session_id"),
            sessions.c.authenticated_at,
            sessions.c.revoked_at,
        )
        .join(sessions, sessions.c.user_id == users.c.id)
        .where(sessions.c.id.in_(bindparam("ids", expanding=True)))
    )
