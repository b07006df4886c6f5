from datetime import datetime
from uuid import UUID

from sqlmodel import Field, SQLModel

from app.core.sql import UTCDateTime
from app.models import base  # noqa: F401 - the naming convention must stand before the first table


class Lease(SQLModel, table=True):
    """A part that one process at a time may play, by the database's clock."""

    __tablename__ = "leases"

    name: str = Field(max_length=32, primary_key=True)
    holder: UUID
    until: datetime = Field(sa_type=UTCDateTime)
