"""The caller's own background tasks."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Path, Response

from app.api.deps import DB, Bearer, CurrentPrincipal, Listing, no_store
from app.api.event_stream import EventStream, event
from app.api.limits import limit
from app.api.problems import raises
from app.api.streams import Reader, Stream
from app.api.strict import StrictRouter
from app.core.errors import (
    InvalidAccessToken,
    NotAuthenticated,
    NotFound,
    SessionRevoked,
    StreamsFull,
    TaskFinished,
    TaskNotRetryable,
    TooManyStreams,
)
from app.models.background_task import ALIVE, BackgroundTask, TaskStatus, TaskType
from app.schemas.pages import Page
from app.schemas.tasks import TaskResponse
from app.services import access, task_watch, tasks

AUTH = raises(NotAuthenticated, InvalidAccessToken, SessionRevoked)
router = StrictRouter(prefix="/tasks", tags=["tasks"], dependencies=[Depends(no_store)], responses=AUTH)
TaskId = Annotated[UUID, Path(alias="id")]
LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="The `id` of the event that was seen last.")
]
EVENTS: dict[str, Any] = {
    "description": "Events until the task has ended: `id` is the row's revision, `data` the task as `GET` answers it.",
    "content": {
        "text/event-stream": {
            # A text of events, as OpenAPI 3.1 has it; readers that take them one by one see objects.
            "schema": {"type": ["string", "object"]},
            "example": 'id: 4\ndata: {"id": "019a…", "status": "running", "progress": 0.4, …}\n\n: ping\n\n',
        }
    },
}
SEEN: dict[int | str, dict[str, Any]] = {
    204: {"description": "The task has ended, and `Last-Event-ID` is its last event: there is nothing to wait for."}
}


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


@router.get(
    "/{id}/events",
    status_code=200,
    response_class=EventStream,
    responses={200: EVENTS, **SEEN, **raises(NotFound, TooManyStreams, StreamsFull)},
)
async def follow_task(
    task_id: TaskId, principal: CurrentPrincipal, token: Bearer, db: DB, last_event_id: LastEventId = None
) -> Response:
    """One of the own tasks as server-sent events: as it stands, then each change that is seen, up to its end.

    With the `Last-Event-ID` of the present state it waits for the next one. The stream ends with the session and with
    the access token too; a client then comes back with a new one. A comment comes every 15 seconds.
    """
    until = (await access.claims_of(token or "")).expires_at
    task = await tasks.access(db, task_id, owner=principal.id)
    seen = task.revision if last_event_id == str(task.revision) else 0
    if seen and task.status not in ALIVE:
        return Response(status_code=204, headers={"Cache-Control": "no-store"})
    return EventStream(Reader(principal.id, principal.session_id, until), partial(_told, task, seen))


@contextmanager
def _told(task: BackgroundTask, seen: int, stream: Stream) -> Iterator[None]:
    """Offer the stream what its client has not seen: the task as it was read, and each change from then on."""
    newest = seen

    def tell(now: BackgroundTask | None) -> None:
        nonlocal newest
        if now is None:
            stream.end()
        elif now.revision > newest:
            newest = now.revision
            stream.offer(event(newest, TaskResponse.of(now).model_dump_json()), last=now.status not in ALIVE)

    tell(task)
    with task_watch.watching(task, tell):
        yield
