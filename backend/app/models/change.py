from datetime import datetime

from sqlalchemy import BigInteger, Index, Integer
from sqlmodel import Field, SQLModel

from app.core.clock import utc_now
from app.core.sql import MEANT_HERE, UTCDateTime
from app.models import base  # noqa: F401 - the naming convention must stand before the first table


class Change(SQLModel, table=True):
    """A line of the feed that every process reads: what it names is to be forgotten. Written with the change itself."""

    __tablename__ = "changes"
    __table_args__ = (Index(None, "xid"), Index(None, "created_at"), {"sqlite_autoincrement": True})
    # Ids are never used again on SQLite, so that a reader's place in the feed stays true after old rows have gone.

    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger().with_variant(Integer(), "sqlite"))
    topic: str = Field(max_length=32)
    subject: str = Field(max_length=64)
    xid: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"info": {MEANT_HERE: "0"}})
    """The writing transaction on PostgreSQL: ids alone come out of order there."""
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime, nullable=False)
