"""Everybody's background tasks, for those who look after them."""

from uuid import UUID

from fastapi import Depends

from app.api.deps import DB, CurrentPrincipal, Listing, no_store, require
from app.api.limits import limit
from app.api.problems import raises
from app.api.strict import StrictRouter
from app.core.errors import (
    InvalidAccessToken,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
    SessionRevoked,
    TaskFinished,
    TaskNotRetryable,
)
from app.core.permissions import Permission
from app.models.background_task import TaskStatus, TaskType
from app.schemas.pages import Page
from app.schemas.tasks import AdminTaskResponse
from app.services import administration, tasks

AUTH = raises(NotAuthenticated, InvalidAccessToken, SessionRevoked, PermissionDenied)
WRITE = require(Permission.tasks_write)
router = StrictRouter(prefix="/admin/tasks", tags=["admin"], dependencies=[Depends(no_store)], responses=AUTH)


@router.get("", dependencies=[require(Permission.tasks_read)])
async def list_all_tasks(
    db: DB,
    window: Listing,
    status: TaskStatus | None = None,
    task_type: TaskType | None = None,
    user_id: UUID | None = None,
) -> Page[AdminTaskResponse]:
    """Every account's tasks and the service's own, the newest first."""
    return (await tasks.find(db, window, owner=user_id, status=status, task_type=task_type)).of(AdminTaskResponse.of)


@router.post("/{task_id}/cancel", dependencies=[WRITE, limit("general")], responses=raises(NotFound, TaskFinished))
async def cancel_any_task(task_id: UUID, principal: CurrentPrincipal, db: DB) -> AdminTaskResponse:
    """End a task that waits, so that it never runs, or ask one that runs to stop. It is audited."""
    return AdminTaskResponse.of(await administration.cancel_task(db, task_id, actor=principal.id))


@router.post("/{task_id}/retry", dependencies=[WRITE, limit("general")], responses=raises(NotFound, TaskNotRetryable))
async def retry_any_task(task_id: UUID, principal: CurrentPrincipal, db: DB) -> AdminTaskResponse:
    """Have a failed or cancelled task run again, its attempts kept. It is audited."""
    return AdminTaskResponse.of(await administration.retry_task(db, task_id, actor=principal.id))
