from datetime import datetime
from uuid import UUID

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from app.core.masking import LEFT_OUT
from app.core.sql import UTCDateTime
from app.models.base import Table


class Export(Table, table=True):
    """All that is held about a user, as JSON, for that user to fetch. It goes with the account, or after a day."""

    __tablename__ = "exports"
    __table_args__ = (Index(None, "expires_at"), LEFT_OUT)

    user_id: UUID = Field(foreign_key="users.id", ondelete="CASCADE", unique=True)
    task_id: UUID
    size: int | None = None
    """Bytes; None until all chunks stand."""
    expires_at: datetime = Field(sa_type=UTCDateTime)


class ExportChunk(SQLModel, table=True):
    """A piece of an export, so that any replica serves it and none holds it whole."""

    __tablename__ = "export_chunks"
    __table_args__ = LEFT_OUT

    export_id: UUID = Field(foreign_key="exports.id", ondelete="CASCADE", primary_key=True)
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    data: bytes = Field(repr=False)
