"""The OpenAPI document: FastAPI's, with our problems instead of its own, and with what every operation may answer."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.limits import EXEMPT
from app.api.problems import PROBLEM_JSON, document
from app.core.errors import (
    AppError,
    BadRequest,
    HeadTooLarge,
    InternalError,
    InvalidAccessToken,
    Maintenance,
    NotAuthenticated,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    RateLimited,
    RequestInProgress,
    RequestTimeout,
    ServiceUnavailable,
    SessionRevoked,
    UnknownHost,
    UnsupportedMediaType,
    ValidationFailed,
    catalogue,
)

ALWAYS: tuple[type[AppError], ...] = (
    BadRequest,
    UnknownHost,
    PayloadTooLarge,
    HeadTooLarge,
    ValidationFailed,
    InternalError,
    Overloaded,
    Maintenance,
    ServiceUnavailable,
)
WITH_BODY: tuple[type[AppError], ...] = (RequestTimeout, UnsupportedMediaType)
WITH_TOKEN: tuple[type[AppError], ...] = (NotAuthenticated, InvalidAccessToken, SessionRevoked)
WITH_PATH: tuple[type[AppError], ...] = (NotFound,)
WITH_KEY: tuple[type[AppError], ...] = (RequestInProgress,)
REPLAYED = "`true` where this is the answer that the key got before."

DESCRIPTION = """Accounts, sessions, background tasks and configuration.

Errors are problems (RFC 9457); `code` is what to switch on, and `type` leads to a page that explains it.
Every answer has an `X-Request-ID`, which finds the request in the logs. Bodies are strict JSON of at most 1 MiB.
"""
TAGS = [
    {"name": "auth", "description": "Registering, signing in and out."},
    {"name": "users", "description": "The caller's own account."},
    {"name": "tasks", "description": "Work that was promised, and what became of it."},
    {"name": "admin", "description": "Looking after accounts and tasks, and the audit. Each call needs a permission."},
    {"name": "service", "description": "Whether the service works, and how it is set up."},
]
TOKEN_URL = "/api/v1/auth/token"  # noqa: S105 - an address, no secret
SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `access_token` of a token pair.",
    },
    "OAuth2PasswordBearer": {
        "type": "oauth2",
        "description": "Sign in here with email and password.",
        "flows": {"password": {"scopes": {}, "tokenUrl": TOKEN_URL, "refreshUrl": TOKEN_URL}},
    },
}
_TEXT = {"type": "string"}
PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "An error. Source: RFC 9457.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id"],
    "properties": {
        "type": {**_TEXT, "format": "uri", "description": "A page that explains this kind of error."},
        "title": {**_TEXT, "description": "What it is, always in the same words."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {**_TEXT, "description": "What happened this time."},
        "instance": {**_TEXT, "format": "uri-reference", "description": "The request's path."},
        "code": {**_TEXT, "description": "What clients switch on. It never changes."},
        "request_id": {**_TEXT, "description": "Finds the request in the logs."},
    },
}
RATE_HEADERS: dict[str, Any] = {
    "RateLimit-Policy": {"description": 'The limit: `"login";q=10;w=60` is 10 in 60 seconds.', "schema": _TEXT},
    "RateLimit": {"description": 'What is left: `"login";r=7;t=42`, some of it back in 42 s.', "schema": _TEXT},
}
FAULT: dict[str, Any] = {
    "title": "Fault",
    "type": "object",
    "required": ["pointer", "detail", "code"],
    "properties": {
        "pointer": {**_TEXT, "description": "Where: a JSON pointer into the body, or /query/…, /path/…, /header/…."},
        "detail": {**_TEXT, "description": "What is wrong there."},
        "code": {**_TEXT, "description": "What clients switch on."},
    },
}
VALIDATION_PROBLEM: dict[str, Any] = {
    "title": "ValidationProblem",
    "allOf": [{"$ref": "#/components/schemas/Problem"}],
    "type": "object",
    "required": ["errors"],
    "properties": {"errors": {"type": "array", "items": {"$ref": "#/components/schemas/Fault"}}},
}


def build(app: FastAPI) -> dict[str, Any]:
    """The document of `app`, made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            description=DESCRIPTION,
            routes=app.routes,
            tags=TAGS,
            servers=[{"url": "/"}],
        )
        for path, operation in _operations(made):
            _complete(path, operation)
        components = made.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas |= {"Problem": PROBLEM, "ValidationProblem": VALIDATION_PROBLEM, "Fault": FAULT}
        components["securitySchemes"] = SECURITY_SCHEMES
        app.openapi_schema = made
    return app.openapi_schema


def _operations(made: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in made["paths"].items():
        for operation in item.values():
            yield path, operation


def _complete(path: str, operation: dict[str, Any]) -> None:
    """Add to one operation what the middleware and the dependencies may answer for it."""
    responses = operation["responses"]
    responses.get("422", {}).get("content", {}).pop("application/json", None)  # FastAPI's own form of it
    errors = list(ALWAYS)
    if "requestBody" in operation:
        errors += WITH_BODY
    if "{" in path:
        errors += WITH_PATH
    if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ())):
        errors += WITH_KEY
        for status, response in responses.items():
            if status.startswith("2"):
                response.setdefault("headers", {})["Idempotency-Replayed"] = {"schema": _TEXT, "description": REPLAYED}
    if operation.get("security"):
        errors += WITH_TOKEN
        operation["security"] = [{"bearer": []}, *operation["security"]]
    if path not in EXEMPT:
        errors.append(RateLimited)
    for status in sorted({error.status for error in errors}):
        _add(responses, status, [error for error in errors if error.status == status])
    operation["responses"] = dict(sorted(responses.items()))
    for status, response in responses.items():
        if status in ("401", "503", "429"):
            name = "WWW-Authenticate" if status == "401" else "Retry-After"
            response.setdefault("headers", {}).setdefault(name, {"schema": _TEXT})
        if path not in EXEMPT and (status == "429" or status.startswith("2")):
            response["headers"] = {**response.get("headers", {}), **RATE_HEADERS}


def _add(responses: dict[str, Any], status: int, errors: list[type[AppError]]) -> None:
    """Join `errors` to the problems that the operation itself names for this status."""
    response = responses.setdefault(str(status), {})
    content = response.setdefault("content", {})
    known = catalogue()
    named = [known[code] for code in codes_of(response)]
    joined = document([*named, *(error for error in errors if error not in named)])
    content.update(joined["content"])
    if set(content) == {PROBLEM_JSON} or not response.get("description"):
        response["description"] = joined["description"]


def codes_of(response: dict[str, Any]) -> list[str]:
    """The problem codes that a documented response may have."""
    schema = response.get("content", {}).get(PROBLEM_JSON, {}).get("schema", {})
    return [
        code for part in schema.get("allOf", ()) for code in part.get("properties", {}).get("code", {}).get("enum", ())
    ]
