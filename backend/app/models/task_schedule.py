from datetime import datetime

from sqlmodel import Field, SQLModel

from app.core.sql import UTCDateTime
from app.models import base  # noqa: F401 - the naming convention must stand before the first table


class TaskSchedule(SQLModel, table=True):
    """When a periodic task is due next. What it is and how often stands in the code."""

    __tablename__ = "task_schedules"

    name: str = Field(max_length=64, primary_key=True)
    declared: str = Field(max_length=200)
    """The cron expression and time zone that `due_at` was computed from: another one computes it anew."""
    due_at: datetime = Field(sa_type=UTCDateTime)
    """By the database's clock."""
