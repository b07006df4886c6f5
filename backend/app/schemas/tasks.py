"""Background tasks over the wire."""

from typing import Any, Self
from uuid import UUID

from pydantic import Field

from app.models.background_task import BackgroundTask, TaskStatus
from app.schemas.base import Output, Timestamp


class TaskError(Output):
    """What went wrong the last time."""

    code: str
    detail: str


class TaskResponse(Output):
    """A promise of work, and what became of it."""

    id: UUID
    task_type: str
    status: TaskStatus
    progress: float = Field(ge=0, le=1)
    message: str | None
    attempts: int
    max_attempts: int
    run_at: Timestamp = Field(description="not before")
    created_at: Timestamp
    started_at: Timestamp | None
    completed_at: Timestamp | None
    result: dict[str, Any] | None
    error: TaskError | None

    @classmethod
    def of(cls, row: BackgroundTask) -> Self:
        error = TaskError(code=row.error_code, detail=row.error_detail or "") if row.error_code else None
        given = {name: getattr(row, name) for name in cls.model_fields if name != "error"}
        return cls(**given, error=error)


class AdminTaskResponse(TaskResponse):
    """A task, for those who look after all of them. Its arguments are shown to nobody."""

    user_id: UUID | None = Field(description="whose work it is; null for the service's own")
    queue: str
    priority: int = Field(description="0 first, 9 last")
