"""The hot path's statement: who is behind a session, outside the request's transaction, as it is committed now."""

from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Select, Uuid, bindparam, func, literal_column, select
from sqlmodel import col

from app.core import direct
from app.core.db import engine, reading
from app.core.direct import Direct
from app.core.sql import is_sqlite
from app.crud import change
from app.crud.change import Place
from app.models.user import User
from app.models.user_session import UserSession
from app.schemas.principal import Principal

_FIELDS = fields(Principal)


async def load(session_ids: Sequence[UUID]) -> tuple[list[Principal], Place]:
    """The account and session of each that is there, and what the statement could see; on SQLite, nothing of that.

    Raises: what the driver or SQLAlchemy raises.
    """
    sqlite = is_sqlite(engine())
    rows = None if sqlite else await _directly(session_ids)
    if rows is None:
        async with reading() as connection:
            rows = (await connection.execute(_statement(), {"ids": session_ids})).all()
    place = Place() if sqlite or not rows else change.place_of(rows[0][-1])
    return [Principal(*row[: len(_FIELDS)]) for row in rows], place


async def _directly(session_ids: Sequence[UUID]) -> Sequence[Any] | None:
    """The rows, at two thirds of the cost; None where the connection broke: SQLAlchemy then looks after its pool."""
    try:
        async with direct.connected() as connection:
            return await _direct().all(connection, ids=session_ids)
    except direct.Broken:
        return None


@lru_cache(maxsize=1)
def _direct() -> Direct:
    among = col(UserSession.id) == func.any(bindparam("ids", type_=ARRAY(Uuid)))
    return Direct(_who().add_columns(literal_column(change.NOW)).where(among))


@lru_cache(maxsize=1)
def _statement() -> Select[Any]:
    who = _who() if is_sqlite(engine()) else _who().add_columns(literal_column(change.NOW))
    return who.where(col(UserSession.id).in_(bindparam("ids", expanding=True)))


def _who() -> Select[Any]:
    """What `Principal` takes, in its order."""
    users, sessions = User.__table__, UserSession.__table__  # type: ignore[attr-defined]  # set on every table class
    return select(
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
    ).join(sessions, sessions.c.user_id == users.c.id)
