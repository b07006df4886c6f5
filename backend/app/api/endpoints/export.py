"""All that is held about the caller, for the caller alone."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Path, Response
from fastapi.responses import StreamingResponse

from app.api.deps import DB, CurrentPrincipal, CurrentUser, no_store
from app.api.limits import limit
from app.api.problems import raises
from app.api.strict import StrictRouter
from app.core.errors import ExportExists, InvalidAccessToken, NotAuthenticated, NotFound, SessionRevoked
from app.schemas.tasks import TaskResponse
from app.services import export

AUTH = raises(NotAuthenticated, InvalidAccessToken, SessionRevoked)
LOCATION: dict[str, Any] = {
    "headers": {"Location": {"description": "The task", "schema": {"type": "string", "format": "uri-reference"}}}
}
FILE: dict[str, Any] = {
    "description": "The export",
    "content": {"application/json": {"schema": {"type": "object", "additionalProperties": True}}},
}
router = StrictRouter(prefix="/users/me/export", tags=["users"], dependencies=[Depends(no_store)], responses=AUTH)


@router.post("", status_code=202, dependencies=[limit("general")], responses={202: LOCATION, **raises(ExportExists)})
async def request_export(user: CurrentUser, db: DB, response: Response) -> TaskResponse:
    """Ask for all that is held about the own account. The task's `result.url` is where it can be fetched for 24 h."""
    task = await export.request(db, user)
    response.headers["Location"] = f"/api/v1/tasks/{task.id}"
    return TaskResponse.of(task)


@router.get("/{id}", response_model=None, responses={200: FILE, **raises(NotFound)})
async def download_export(
    export_id: Annotated[UUID, Path(alias="id")], principal: CurrentPrincipal, db: DB
) -> StreamingResponse:
    """The finished export as a file."""
    found = await export.access(db, principal.id, export_id)
    size = found.size or 0
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="neoforge-export-{found.created_at:%Y-%m-%d}.json"',
        "Content-Length": str(size),
    }
    return StreamingResponse(export.read(found.id, size), media_type="application/json", headers=headers)
