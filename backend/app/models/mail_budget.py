from datetime import datetime

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from app.core.clock import utc_now
from app.core.masking import Mask, masked
from app.core.sql import UTCDateTime
from app.models.base import JSON_TYPE


class MailBudget(SQLModel, table=True):
    """When an address was last promised mails that a stranger can cause, so that it gets few of them."""

    __tablename__ = "mail_budgets"
    __table_args__ = (Index(None, "updated_at"),)

    address: str = Field(max_length=64, primary_key=True, sa_column_kwargs=masked(Mask.token))
    """An HMAC of the canonical address, hexadecimal."""
    promised: list[str] = Field(default_factory=list, sa_type=JSON_TYPE, nullable=False)
    """The times, RFC 3339, the newest last."""
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime, nullable=False)
