from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Index, text
from sqlmodel import Field

from app.core.clock import utc_now
from app.core.sql import UTCDateTime
from app.models.base import JSON_TYPE, Table


class TaskType(StrEnum):
    verify_email = "verify_email"
    email_taken = "email_taken"
    welcome_email = "welcome_email"
    claim_email = "claim_email"
    reset_email = "reset_email"
    change_email = "change_email"
    undo_email = "undo_email"
    security_notice = "security_notice"
    export_account = "export_account"
    sweep = "sweep"


class TaskStatus(StrEnum):
    pending = "pending"
    queued = "queued"
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"


ALIVE = (TaskStatus.pending, TaskStatus.queued, TaskStatus.running)
"""What is still to come, or under way."""
ALIVE_WITH_KEY = "dedupe_key IS NOT NULL AND status IN ('pending', 'queued', 'running')"
_HELD, _UNSUCCESSFUL = "status IN ('queued', 'running')", "status IN ('failed', 'cancelled')"
HELD, UNSUCCESSFUL = text(f"background_tasks.{_HELD}"), text(f"background_tasks.{_UNSUCCESSFUL}")
"""What is rung or runs, and what did not go well, in the words of their indexes: SQLite uses these for no others."""
URGENT, USUAL, LEISURELY = 0, 5, 9  # priorities: the first, the usual and the last


def _partial(where: str) -> dict[str, Any]:
    return {"sqlite_where": text(where), "postgresql_where": text(where)}


class BackgroundTask(Table, table=True):
    """A promise: work to do later, written with the change that asks for it. Celery is only its doorbell."""

    __tablename__ = "background_tasks"
    __table_args__ = (
        # What the relay takes: the due rows of a queue by priority. Those that are not due yet are not looked at.
        Index("ix_background_tasks_due", "queue", "priority", "run_at", **_partial("status = 'pending'")),
        # Whether anything is due at all, and since when: asked each second, and at each wake-up.
        Index("ix_background_tasks_run_at", "run_at", **_partial("status = 'pending'")),
        # Leases that ran out, and what is rung or runs: a few hundred rows, however many there are.
        Index("ix_background_tasks_lease", "lease_until", **_partial(_HELD)),
        Index("ix_background_tasks_owner", "user_id", "id"),
        Index("ix_background_tasks_completed", "completed_at"),
        # What an operator looks for among the many that went well.
        Index("ix_background_tasks_unsuccessful", "id", **_partial(_UNSUCCESSFUL)),
        # One that is alive for each key.
        Index(
            "uq_background_tasks_dedupe_key",
            "dedupe_key",
            unique=True,
            **_partial(ALIVE_WITH_KEY),
        ),
    )

    task_type: str = Field(max_length=64)
    task_data: dict[str, Any] = Field(default_factory=dict, sa_type=JSON_TYPE, nullable=False)
    """The task function's arguments, as JSON."""
    status: str = Field(default=TaskStatus.pending, max_length=16)
    user_id: UUID | None = Field(default=None, foreign_key="users.id", ondelete="CASCADE")
    """Whose work it is; it goes with the account."""
    queue: str = Field(default="default", max_length=32)
    priority: int = USUAL
    """0 first, 9 last."""
    run_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    """Not before, by the database's clock."""
    dedupe_key: str | None = Field(default=None, max_length=200)
    """Of the tasks that are alive, one may have it."""
    attempts: int = 0
    """Claims so far. It is also the fence: a worker may finish only the attempt that it claimed."""
    max_attempts: int = 8
    """As the task's declaration says, from the first claim on."""
    lease_until: datetime | None = Field(default=None, sa_type=UTCDateTime)
    """By the database's clock: a queued row is rung again, a running one offered again, once this has passed."""
    cancel_requested: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    """A running task was asked to stop."""
    revision: int = Field(default=1, sa_column_kwargs={"server_default": text("1")})
    """Grows with each change that its owner can see."""
    progress: float = 0.0
    message: str | None = Field(default=None, max_length=500)
    started_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    completed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    result: dict[str, Any] | None = Field(default=None, sa_type=JSON_TYPE)
    error_code: str | None = Field(default=None, max_length=64)
    error_detail: str | None = Field(default=None, max_length=1000)
