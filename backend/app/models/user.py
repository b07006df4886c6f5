from datetime import datetime

from sqlalchemy import Index, text
from sqlmodel import Field

from app.core.clock import utc_now
from app.core.masking import Mask, masked
from app.core.sql import UTCDateTime
from app.models.base import JSON_TYPE, Table

HAS_ROLES, UNPROVEN = text("roles <> '[]'"), text("NOT is_verified AND roles = '[]'")
"""In the words of the indexes over those few accounts; a query that says so is answered by one."""


class User(Table, table=True):
    """An account. `email` is canonical (`schemas.users.canonical_email`), so an address is unique in any spelling."""

    __tablename__ = "users"
    __table_args__ = (
        Index("ix_users_staff", "id", sqlite_where=HAS_ROLES, postgresql_where=HAS_ROLES),
        # What the sweep looks for where an address has to be verified.
        Index("ix_users_unproven", "created_at", sqlite_where=UNPROVEN, postgresql_where=UNPROVEN),
    )

    email: str = Field(max_length=320, unique=True, sa_column_kwargs=masked(Mask.email))
    hashed_password: str = Field(max_length=255, repr=False, sa_column_kwargs=masked(Mask.password))
    full_name: str | None = Field(default=None, max_length=200, sa_column_kwargs=masked(Mask.name))
    is_active: bool = True
    is_verified: bool = False
    locale: str = Field(default="en", max_length=8)
    """The language of its mails."""
    roles: list[str] = Field(default_factory=list, sa_type=JSON_TYPE, nullable=False)
    updated_at: datetime = Field(
        default_factory=utc_now, sa_type=UTCDateTime, nullable=False, sa_column_kwargs={"onupdate": utc_now}
    )
