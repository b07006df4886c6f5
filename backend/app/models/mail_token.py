from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Index, text
from sqlmodel import Field

from app.core.masking import Mask, masked
from app.core.sql import UTCDateTime
from app.models.base import Table


class MailPurpose(StrEnum):
    verify = "verify"
    """Proves the address of an account."""
    claim = "claim"
    """Proves the address of an account that is not verified, and then sets the password of this registration."""
    reset = "reset"
    change = "change"
    """Proves a new address and moves the account to it."""
    undo = "undo"
    """Brings the old address back."""


class MailToken(Table, table=True):
    """A link that was promised by mail. The newest of a user and purpose voids the older ones; using it deletes it.

    Claims stand beside each other: each is a registration of its own, and none may void another's. So do the links that
    bring an old address back, one an address: a second change must not make the first one final.
    """

    __tablename__ = "mail_tokens"
    __table_args__ = (
        Index(
            "uq_mail_tokens_user_id_purpose",
            "user_id",
            "purpose",
            unique=True,
            sqlite_where=text("purpose NOT IN ('claim', 'undo')"),
            postgresql_where=text("purpose NOT IN ('claim', 'undo')"),
        ),
        Index(None, "user_id"),
        Index(None, "expires_at"),
    )

    user_id: UUID = Field(foreign_key="users.id", ondelete="CASCADE")
    purpose: str = Field(max_length=16)
    email: str = Field(max_length=320, sa_column_kwargs=masked(Mask.email))
    """The address that the link proves, or brings back."""
    hashed_password: str | None = Field(
        default=None, max_length=255, repr=False, sa_column_kwargs=masked(Mask.password)
    )
    full_name: str | None = Field(default=None, max_length=200, sa_column_kwargs=masked(Mask.name))
    """Of a claim: what its registration said."""
    key_id: str = Field(max_length=16)
    salt: bytes = Field(repr=False, sa_column_kwargs=masked(Mask.token))
    expires_at: datetime = Field(sa_type=UTCDateTime)
