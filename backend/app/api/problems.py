"""Every error as an RFC 9457 problem, made in one place. What a client sent is never echoed."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from pydantic_core.core_schema import ErrorType
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from app.core.config import settings
from app.core.errors import (
    AppError,
    BadRequest,
    InternalError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    ServiceUnavailable,
    UnsupportedMediaType,
    ValidationFailed,
)

PROBLEM_JSON = "application/problem+json"
MAX_FAULTS = 50  # a body of 1 MiB can have 100,000
MAX_NAME = 100  # characters of a field's name in a pointer: unknown fields are named by the client
MAX_INSTANCE = 2048

_PYDANTIC_TYPES = frozenset(get_args(ErrorType))
_UNSAFE_CONTEXT = frozenset({"error", "tag", "tz_actual"})
"""Where Pydantic's own messages quote the input."""
_BY_STATUS: dict[int, type[AppError]] = {
    error.status: error for error in (NotFound, MethodNotAllowed, PayloadTooLarge, UnsupportedMediaType)
}


def problem(scope: Scope, error: AppError) -> Response:
    """The answer that tells `error`; the log line of the request says its code."""
    structlog.contextvars.bind_contextvars(code=error.code)
    content = {
        "type": f"{settings.public_url}/problems/{error.code}",
        "title": error.title(),
        "status": error.status,
        "detail": error.detail,
        "instance": instance(scope),
        "code": error.code,
        "request_id": scope.get("request_id"),
        **error.extra,
    }
    return JSONResponse(content, error.status, error.extra_headers, PROBLEM_JSON)


def instance(scope: Scope) -> str:
    """The request's path as it was sent, without the query."""
    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw is not None else scope["path"]
    return quote(path[:MAX_INSTANCE], safe="/%:@!$&'()*+,;=~-._", errors="replace")


def validation_failed(faults: Sequence[Mapping[str, Any]]) -> ValidationFailed:
    """Pydantic's faults as ours: a pointer into the body, or into `/query`, `/path`, `/header`, `/cookie`."""
    return ValidationFailed([_fault(fault) for fault in faults[:MAX_FAULTS]])


def _fault(fault: Mapping[str, Any]) -> dict[str, str]:
    place = fault["loc"]
    parts = place[1:] if place and place[0] == "body" else place
    return {"pointer": "".join(f"/{_escaped(part)}" for part in parts), "detail": _detail(fault), "code": fault["type"]}


def _escaped(part: object) -> str:
    """One step of a JSON pointer. Source: RFC 6901, section 3."""
    return str(part)[:MAX_NAME].replace("~", "~0").replace("/", "~1")


def _detail(fault: Mapping[str, Any]) -> str:
    """The message, unless it may quote the input."""
    message = str(fault["msg"])
    if fault["type"] in _PYDANTIC_TYPES and _UNSAFE_CONTEXT & fault.get("ctx", {}).keys():
        expected = message.partition(",")[0]
        return expected if expected.startswith("Input should be a valid ") else "The value is not valid"
    return message


def allowed_methods(scope: Scope) -> list[str]:
    """Every method of this path, over all routes."""
    found: set[str] = set()
    for route in iter_route_contexts(scope["app"].routes):
        regex = getattr(route, "path_regex", None)
        if route.methods and regex is not None and regex.match(scope["path"]):
            found |= route.methods
    return sorted(found)


# --- handlers -------------------------------------------------------------------------------------------------------


async def _on_app_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AppError)
    return problem(request.scope, error)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem(request.scope, validation_failed(error.errors()))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code in (204, 304):
        return Response(status_code=error.status_code, headers=error.headers)
    if error.status_code == MethodNotAllowed.status:
        return problem(request.scope, MethodNotAllowed(headers={"Allow": ", ".join(allowed_methods(request.scope))}))
    if error.status_code >= InternalError.status:
        known: type[AppError] = ServiceUnavailable if error.status_code == ServiceUnavailable.status else InternalError
    else:
        known = _BY_STATUS.get(error.status_code, BadRequest)
    return problem(request.scope, known(headers=dict(error.headers or {})))


async def _on_anything(_: Request, error: Exception) -> Response:
    raise error


def install(app: FastAPI) -> None:
    """Have `app` answer these errors as problems. What is not foreseen goes on to the edge, which answers it."""
    app.add_exception_handler(Exception, _on_anything)
    app.add_exception_handler(AppError, _on_app_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


# --- documentation --------------------------------------------------------------------------------------------------


def raises(*errors: type[AppError]) -> dict[int | str, dict[str, Any]]:
    """What a route's `responses=` says of its errors: by status, a problem with the codes that it may have."""
    by_status: dict[int, list[type[AppError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    return {status: document(same) for status, same in by_status.items()}


def document(errors: Sequence[type[AppError]]) -> dict[str, Any]:
    """The OpenAPI response of problems that share a status."""
    base = "ValidationProblem" if ValidationFailed in errors else "Problem"
    codes = {"type": "string", "enum": [error.code for error in errors]}
    schema = {"allOf": [{"$ref": f"#/components/schemas/{base}"}, {"properties": {"code": codes}}]}
    return {
        "description": " / ".join(error.title() for error in errors),
        "content": {PROBLEM_JSON: {"schema": schema}},
    }
