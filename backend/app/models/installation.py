from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint
from sqlmodel import Field, SQLModel

from app.core.masking import Mask, masked
from app.core.sql import UTCDateTime, new_id
from app.models.base import JSON_TYPE


class Installation(SQLModel, table=True):
    """The one row that says which installation this is. Redis keys begin with it, so that a Redis can be shared."""

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: int = Field(default=1, primary_key=True)
    uid: UUID = Field(default_factory=new_id, sa_column_kwargs=masked(Mask.id))
    signing_number: int = 1
    """Which derived key signs access tokens; the next number's is published beside it."""
    signing_since: datetime | None = Field(default=None, sa_type=UTCDateTime)
    """Since when."""
    signing_retired: dict[str, str] = Field(default_factory=dict, sa_type=JSON_TYPE, nullable=False)
    """Keys that have signed, by number, and until when (RFC 3339) each verifies."""
    secret_check: str | None = Field(default=None, max_length=64, sa_column_kwargs=masked(Mask.nothing))
    """A digest under a key derived from SECRET_KEY: a process with another secret is told so."""
