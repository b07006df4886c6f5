from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field

from app.core.masking import LEFT_OUT
from app.core.sql import UTCDateTime
from app.models.base import JSON_TYPE, Table


class IdempotencyKey(Table, table=True):
    """An `Idempotency-Key` that a caller sent to a route, and the answer once there is one."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        UniqueConstraint("caller", "route", "key"),
        Index(None, "user_id"),
        Index(None, "created_at"),
        LEFT_OUT,
    )

    caller: str = Field(max_length=80)
    """An HMAC of who calls: a user, or a client address."""
    user_id: UUID | None = Field(default=None, foreign_key="users.id", ondelete="CASCADE")
    route: str = Field(max_length=120)
    key: str = Field(max_length=64)
    """SHA-256 of the key, hexadecimal."""
    body: str = Field(max_length=64)
    """An HMAC of the request's body under a derived key, hexadecimal: what was sent is not kept."""
    lease_until: datetime | None = Field(default=None, sa_type=UTCDateTime)
    """While the first request runs, by the database's clock; a process that died does not hold it for ever."""
    status: int | None = None
    headers: dict[str, Any] | None = Field(default=None, sa_type=JSON_TYPE)
    answer: bytes | None = Field(default=None, repr=False)
