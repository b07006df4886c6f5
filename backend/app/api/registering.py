"""The short way of `POST /auth/register`: the endpoint itself, without what FastAPI does around it."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from app.api import deps, idempotency, limits, strict
from app.api.endpoints import auth
from app.api.known import Known
from app.core import direct
from app.core.errors import ValidationFailed
from app.schemas.users import UserCreate

PATH = "/api/v1/auth/register"
RULE = "register"
KNOWN = Known(
    auth.router,
    "/auth/register",
    "POST",
    depends={deps.no_store, deps.unit_of_work, deps.get_db, deps.get_language, idempotency.claim},
    limits=(RULE,),
    takes={"new": UserCreate, "db": deps.DB, "language": deps.Language, "response": Response},
)


class Answer(NamedTuple):
    """What an endpoint has answered, as it goes over the wire."""

    body: bytes
    status: int = 200
    headers: Sequence[tuple[bytes, bytes]] = ((b"cache-control", b"no-store"),)


async def answer(scope: Scope, body: bytes, route: Any) -> Answer | None:
    """What the endpoint answers; None, and nothing looked at or counted, where it is to be asked the usual way.

    Raises: as `POST /auth/register`.
    """
    request, endpoint = Request(scope), _endpoint()
    if endpoint is None or idempotency.HEADER in request.headers:
        return None
    try:
        new = UserCreate.model_validate(strict.parse(body))
    except (ValidationFailed, ValidationError):
        return None
    scope["route"] = route
    await limits.client_passes(RULE, scope)
    language = await deps.get_language(request)
    response = Response(status_code=endpoint.status)
    del response.headers["content-length"]
    await deps.no_store(response)
    async with deps.transaction() as db:
        direct.may_be_one(db)
        made = await endpoint.call(new, db, language, response)
        told = endpoint.form.dump_json(endpoint.form.validate_python(made, from_attributes=True), by_alias=True)
    return Answer(told, response.status_code, response.raw_headers)


class _Endpoint(NamedTuple):
    """What answers, and how that is written."""

    call: Callable[..., Any]
    form: TypeAdapter[Any]
    status: int


@lru_cache(maxsize=1)
def _endpoint() -> _Endpoint | None:
    """None where the route asks for something that is not done here: what a product adds to it holds for everybody."""
    route = KNOWN.route()
    return _Endpoint(route.endpoint, TypeAdapter(route.response_model), route.status_code or 200) if route else None
