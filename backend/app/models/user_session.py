from datetime import datetime
from uuid import UUID

from sqlalchemy import Index
from sqlmodel import Field

from app.core.clock import utc_now
from app.core.masking import Mask, masked
from app.core.sql import UTCDateTime
from app.models.base import Table


class UserSession(Table, table=True):
    """A sign-in: one row from login to its end. Its tokens are derived from it (`services.tokens`), never stored."""

    __tablename__ = "user_sessions"
    __table_args__ = (Index(None, "user_id", "last_used_at"), Index(None, "expires_at"))

    user_id: UUID = Field(foreign_key="users.id", ondelete="CASCADE")
    session_token: str = Field(max_length=64, unique=True, repr=False, sa_column_kwargs=masked(Mask.token))
    """SHA-256 of the current refresh token, hexadecimal."""
    key_id: str = Field(max_length=16)
    """Which secret the refresh tokens are derived from."""
    salt: bytes = Field(repr=False, sa_column_kwargs=masked(Mask.token))
    generation: int = 1
    """Of the current refresh token; each rotation adds one."""
    rotated_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    """Since when that generation is the current one."""
    authenticated_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    """When the password was last given."""
    last_used_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    expires_at: datetime = Field(sa_type=UTCDateTime)
    """When it ends unless it is refreshed before: 14 days after the last refresh, 60 after sign-in at the latest."""
    revoked_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    revoked_reason: str | None = Field(default=None, max_length=32)
    ip: str | None = Field(default=None, max_length=45, sa_column_kwargs=masked(Mask.ip))
    user_agent: str | None = Field(default=None, max_length=255, sa_column_kwargs=masked(Mask.nothing))
