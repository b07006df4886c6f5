from datetime import datetime

from sqlmodel import Field, SQLModel

from app.core.sql import UTCDateTime
from app.models import base  # noqa: F401 - the naming convention must stand before the first table


class PausedQueue(SQLModel, table=True):
    """A queue of which nothing is started. Its tasks wait in their table."""

    __tablename__ = "paused_queues"

    name: str = Field(max_length=32, primary_key=True)
    paused_at: datetime = Field(sa_type=UTCDateTime)
