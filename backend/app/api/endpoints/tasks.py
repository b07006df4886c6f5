"""The caller's own background tasks."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path

from app.api.deps import DB, CurrentPrincipal, Listing, no_store
from app.api.limits import limit
from app.api.problems import raises
from app.api.strict import StrictRouter
from app.core.errors import (
    InvalidAccessToken,
    NotAuthenticated,
    NotFound,
    SessionRevoked,
    TaskFinished,
    TaskNotRetryable,
)
from app.models.background_task import TaskStatus, TaskType
from app.schemas.pages import Page
from app.schemas.tasks import TaskResponse
from app.services import tasks

AUTH = raises(NotAuthenticated, InvalidAccessToken, SessionRevoked)
router = StrictRouter(prefix="/tasks", tags=["tasks"], dependencies=[Depends(no_store)], responses=AUTH)
TaskId = Annotated[UUID, Path(alias="id")]


@router.get("", response_model=Page[TaskResponse])
async def list_tasks(
    principal: CurrentPrincipal,
    db: DB,
    window: Listing,
    status: TaskStatus | None = None,
    task_type: TaskType | None = None,
) -> Page[TaskResponse]:
    """The own tasks, the newest first."""
    return (await tasks.find(db, window, owner=principal.id, status=status, task_type=task_type)).of(TaskResponse.of)


@router.get("/{id}", responses=raises(NotFound))
async def read_task(task_id: TaskId, principal: CurrentPrincipal, db: DB) -> TaskResponse:
    """One of the own tasks, as it stands."""
    return TaskResponse.of(await tasks.access(db, task_id, owner=principal.id))


@router.post("/{id}/cancel", dependencies=[limit("general")], responses=raises(NotFound, TaskFinished))
async def cancel_task(task_id: TaskId, principal: CurrentPrincipal, db: DB) -> TaskResponse:
    """End one of the own tasks that waits, so that it never runs, or ask one that runs to stop."""
    return TaskResponse.of(await tasks.cancel(db, task_id, owner=principal.id))


@router.post("/{id}/retry", dependencies=[limit("general")], responses=raises(NotFound, TaskNotRetryable))
async def retry_task(task_id: TaskId, principal: CurrentPrincipal, db: DB) -> TaskResponse:
    """Have one of the own tasks that failed or was cancelled run again, its attempts kept."""
    return TaskResponse.of(await tasks.retry(db, task_id, owner=principal.id))
