from datetime import datetime
from uuid import UUID

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from app.core.clock import utc_now
from app.core.masking import Mask, masked
from app.core.sql import UTCDateTime
from app.models import base  # noqa: F401 - the naming convention must stand before the first table


class KnownDevice(SQLModel, table=True):
    """A network and browser that signed in to an account. Its network has a bucket of its own for 30 days."""

    __tablename__ = "known_devices"
    __table_args__ = (Index(None, "seen_at"),)

    user_id: UUID = Field(foreign_key="users.id", ondelete="CASCADE", primary_key=True)
    network: str = Field(max_length=49, primary_key=True, sa_column_kwargs=masked(Mask.network))
    """IPv4 by /24, IPv6 by /64."""
    agent: str = Field(max_length=32, primary_key=True, sa_column_kwargs=masked(Mask.token))
    """A digest of the user agent without its version numbers."""
    seen_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime, nullable=False)
