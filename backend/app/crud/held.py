"""What is held about a person: each table that refers to accounts, what of it they are given and what is kept back.

A test walks the tables: one that refers to accounts and is not named here is told, and a column that is in no list.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, and_, false, func, or_, tuple_
from sqlmodel import SQLModel, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models import (
    AuditEvent,
    AuditOrigin,
    BackgroundTask,
    Export,
    IdempotencyKey,
    KnownDevice,
    MailToken,
    User,
    UserSession,
)

_OWNER = "it is the account's own id, which stands at the top"
_SECRET = "it is made from a secret, or makes one"  # noqa: S105 - words, no secret


@dataclass(frozen=True)
class Part:
    """The rows of a table that belong to a person."""

    name: str
    model: type[SQLModel]
    shown: tuple[str, ...]
    kept_back: dict[str, str] = field(default_factory=dict)
    """Columns that are not given out, each with the reason."""
    owner: str = "user_id"

    @property
    def table(self) -> FromClause:
        return self.model.__table__  # type: ignore[attr-defined, no-any-return]  # SQLModel sets it on every table class

    def of(self, user_id: UUID) -> ColumnElement[bool]:
        """Which rows are that person's."""
        return self.table.c[self.owner] == user_id


class Events(Part):
    """What was done by the account or to it. Where somebody else's request came from is not the account's to know."""

    def of(self, user_id: UUID) -> ColumnElement[bool]:
        return or_(self.table.c.actor_id == user_id, self.table.c.target_id == str(user_id))


PARTS: tuple[Part, ...] = (
    Part(
        "account",
        User,
        ("id", "email", "full_name", "is_active", "is_verified", "locale", "roles", "created_at", "updated_at"),
        {"hashed_password": _SECRET},
        owner="id",
    ),
    Part(
        "sessions",
        UserSession,
        ("id", "created_at", "authenticated_at", "last_used_at", "rotated_at", "expires_at", "revoked_at",
         "revoked_reason", "generation", "ip", "user_agent"),
        {"user_id": _OWNER, "session_token": _SECRET, "salt": _SECRET, "key_id": _SECRET},
    ),
    Part("known_devices", KnownDevice, ("network", "agent", "seen_at"), {"user_id": _OWNER}),
    Part(
        "mail_links",
        MailToken,
        ("id", "created_at", "purpose", "email", "expires_at"),
        {
            "user_id": _OWNER, "salt": _SECRET, "key_id": _SECRET, "hashed_password": _SECRET,
            "full_name": "somebody typed it who has not yet proven to be the owner of the address",
        },
    ),
    Part("exports", Export, ("id", "created_at", "task_id", "size", "expires_at"), {"user_id": _OWNER}),
    Part(
        "idempotency_keys",
        IdempotencyKey,
        ("id", "created_at", "route", "status", "headers", "answer"),
        {
            "user_id": _OWNER, "caller": _OWNER, "key": _SECRET, "body": _SECRET,
            "lease_until": "it is about the running request",
        },
    ),
    Part(
        "tasks",
        BackgroundTask,
        ("id", "created_at", "task_type", "status", "progress", "message", "attempts", "max_attempts",
         "run_at", "started_at", "completed_at", "result", "error_code", "error_detail"),
        {
            "user_id": _OWNER,
            "task_data": "it may hold what is sensitive: which arguments are is said where the task runs",
            "queue": "it is about the machinery", "priority": "it is about the machinery",
            "lease_until": "it is about the machinery", "dedupe_key": "it is about the machinery",
            "cancel_requested": "it is about the machinery", "revision": "it is about the machinery",
        },
    ),
    Events(
        "security_events",
        AuditEvent,
        ("id", "created_at", "action", "target_type", "result", "request_id"),
        {
            "actor_id": "it may be another person's: `by_you` is given instead",
            "target_id": "it is the account's own id, or names a thing by number",
            "origin": _SECRET,
        },
        owner="actor_id",
    ),
)  # fmt: skip
"""The last one is the one that others can make longer: what does not fit any more is left out there."""

ORIGIN = Part(
    "origin", AuditOrigin, ("ip", "user_agent"),
    {"event_id": "it is the event's", "user_id": _OWNER, "created_at": "it is the event's", "salt": _SECRET},
)  # fmt: skip
"""Joined to the security events that are the account's own."""


async def page(
    db: AsyncSession, part: Part, user_id: UUID, *, after: Sequence[Any] | None, most: int
) -> tuple[list[dict[str, Any]], Sequence[Any] | None]:
    """Up to `most` rows, the newest first, and where to go on from; None at the end."""
    table, keys = part.table, list(part.table.primary_key)
    columns = [*(table.c[name] for name in part.shown), *(key.label(f"_{key.name}") for key in keys)]
    source: FromClause = table
    if isinstance(part, Events):
        origin = ORIGIN.table
        source = table.outerjoin(origin, and_(origin.c.event_id == table.c.id, origin.c.user_id == user_id))
        columns += [
            func.coalesce(table.c.actor_id == user_id, false()).label("by_you"),
            *(origin.c[name] for name in ORIGIN.shown),
        ]
    statement = select(*columns).select_from(source).where(part.of(user_id))
    if after is not None:
        statement = statement.where(tuple_(*keys) < tuple_(*after))
    rows = (await db.exec(statement.order_by(*(key.desc() for key in keys)).limit(most))).mappings().all()  # type: ignore[attr-defined]  # SQLModel types one column alone
    found = [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]
    place = [rows[-1][f"_{key.name}"] for key in keys] if len(rows) == most else None
    return found, place
