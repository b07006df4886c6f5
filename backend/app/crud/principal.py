"""The hot path's statement: who is behind a session, outside the request's transaction, as it is committed now.

Requests that wait at the same moment are answered by one statement together. It begins after each of them has asked, so
that a session which ended before a request came is dead for it; alone, a request has a statement to itself.
"""

import asyncio
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Select, bindparam, select

from app.core.db import reading
from app.models.user import User
from app.models.user_session import UserSession
from app.schemas.principal import Principal

MOST = 64  # sessions asked for in one statement
PATIENCE = 4.0  # seconds for one, with the wait for a connection, and for a request that waits for its answer


class _Waiting:
    """The sessions that the next statement asks for. One an event loop."""

    def __init__(self) -> None:
        self.answers: dict[UUID, asyncio.Future[Principal | None]] = {}
        self.asking: asyncio.Task[None] | None = None


@lru_cache(maxsize=2)
def _waiting(_loop: asyncio.AbstractEventLoop) -> _Waiting:
    return _Waiting()


async def load(session_id: UUID) -> Principal | None:
    """The account and session; None when either is gone.

    Raises:
        TimeoutError: the database does not answer.
    """
    loop = asyncio.get_running_loop()
    waiting = _waiting(loop)
    answer = waiting.answers.get(session_id)
    if answer is None:
        answer = waiting.answers[session_id] = loop.create_future()
    if waiting.asking is None:
        waiting.asking = loop.create_task(_ask(waiting))
    async with asyncio.timeout(PATIENCE):
        return await asyncio.shield(answer)  # a client that hangs up takes the answer from no other


async def _ask(waiting: _Waiting) -> None:
    """Ask for what waits, until nothing does."""
    try:
        while waiting.answers:
            ids = list(waiting.answers)[:MOST]
            batch = {session_id: waiting.answers.pop(session_id) for session_id in ids}
            try:
                found = await _load(ids)
            except Exception as error:  # noqa: BLE001 - raised again in each request that waits for it
                for answer in batch.values():
                    answer.set_exception(error)
                    answer.exception()  # its client may have gone: not an error that nobody looked at
            else:
                for session_id, answer in batch.items():
                    answer.set_result(found.get(session_id))
    finally:
        waiting.asking = None


async def _load(ids: list[UUID]) -> dict[UUID, Principal]:
    async with asyncio.timeout(PATIENCE), reading() as connection:
        rows = (await connection.execute(_statement(), {"ids": ids})).all()
    found = (Principal(*row) for row in rows)
    return {one.session_id: one for one in found}


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
