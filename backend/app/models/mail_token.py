from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Index
from sqlmodel import Field

from app.core.sql import UTCDateTime
from app.models.base import Table


class MailPurpose(StrEnum):
    verify = "verify"


class MailToken(Table, table=True):
    """A link that was promised by mail. The newest of a user and purpose voids the older ones; using it deletes it."""

    __tablename__ = "mail_tokens"
    __table_args__ = (
        Index("uq_mail_tokens_user_id_purpose", "user_id", "purpose", unique=True),
        Index(None, "expires_at"),
    )

    user_id: UUID = Field(foreign_key="users.id", ondelete="CASCADE")
    purpose: str = Field(max_length=16)
    email: str = Field(max_length=320)
    """The address that the link proves."""
    key_id: str = Field(max_length=16)
    salt: bytes = Field(repr=False)
    expires_at: datetime = Field(sa_type=UTCDateTime)
