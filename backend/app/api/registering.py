"""The short way of `POST /auth/register`: the endpoint itself, without what FastAPI does around it."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from app.api import deps, idempotency, limits, strict
from app.api.endpoints import auth
from app.api.limits import Limit
from app.core import direct
from app.core.errors import ValidationFailed
from app.schemas.users import UserCreate

PATH = "/api/v1/auth/register"
RULE = "register"
_KNOWN = frozenset({deps.no_store, deps.unit_of_work, deps.get_db, deps.get_language, idempotency.claim})
_PARAMETERS = {"new": UserCreate, "db": deps.DB, "language": deps.Language, "response": Response}
_SHORTENED = ("include", "exclude", "exclude_unset", "exclude_defaults", "exclude_none")


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
    for route in auth.router.routes:
        if isinstance(route, APIRoute) and route.path == "/auth/register" and knows(route):
            return _Endpoint(route.endpoint, TypeAdapter(route.response_model), route.status_code or 200)
    return None


def knows(route: APIRoute) -> bool:
    """Whether all that the route depends on and takes is done by `answer`."""
    every = list(_all_of(route.dependant))
    asked = {one.call for one in every[1:]}
    rules = [call.rule for call in asked if isinstance(call, Limit)]
    shortened = [getattr(route, f"response_model_{how}") for how in _SHORTENED]
    taken = [p for one in every for p in (*one.path_params, *one.query_params, *one.cookie_params)]
    return (
        {call for call in asked if not isinstance(call, Limit)} <= _KNOWN
        and rules == [RULE]
        and not taken
        and not any(shortened)
        and not route.dependant.header_params
        and isinstance(route.response_class, DefaultPlaceholder)
        and {name: kind for name, kind in route.endpoint.__annotations__.items() if name != "return"} == _PARAMETERS
    )


def _all_of(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for one in dependant.dependencies:
        yield from _all_of(one)
