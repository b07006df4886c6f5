from datetime import datetime

from sqlmodel import Field

from app.core.sql import UTCDateTime
from app.models.base import Table


class Heartbeat(Table, table=True):
    """A process that says it is alive, every 10 s by the database's clock. Readiness looks here."""

    __tablename__ = "heartbeats"

    role: str = Field(max_length=16, index=True)
    seen_at: datetime = Field(sa_type=UTCDateTime)
