"""The OpenFeature Remote Evaluation Protocol over the flags and settings that a caller may know, with its own errors.

Source: OpenFeature Remote Evaluation Protocol, version 0.2.
"""

from typing import Any
from uuid import UUID

from fastapi import Request, Response
from pydantic_core import to_json

from app.api.conditional import conditional
from app.api.deps import KnownPrincipal
from app.api.limits import limit
from app.api.problems import raises
from app.api.strict import JSON, StrictRouter, check_encoding, check_type, parse
from app.core.dynamic import ANYBODY, Caller
from app.core.errors import AppError, InvalidAccessToken, SessionRevoked
from app.core.permissions import Permission
from app.schemas.dynamic_config import Evaluated, EvaluationFailed, EvaluationRequest, Flags
from app.schemas.principal import Principal
from app.services import dynamic_config

REQUEST: dict[str, Any] = {
    "requestBody": {
        "content": {"application/json": {"schema": EvaluationRequest.model_json_schema()}},
        "required": True,
    },
    "security": [{}, {"OAuth2PasswordBearer": []}],
}
FAILED: dict[int | str, dict[str, Any]] = {
    400: {"model": EvaluationFailed, "description": "The request cannot be read, or its context"},
    404: {"model": EvaluationFailed, "description": "There is no such flag, or not for this caller"},
}
router = StrictRouter(
    prefix="/ofrep/v1/evaluate/flags", tags=["service"], responses=raises(InvalidAccessToken, SessionRevoked)
)


class _Unreadable(Exception):
    """The request does not say what the protocol has it say."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


@router.post(
    "",
    response_model=Flags,
    responses={304: {"description": "It is what If-None-Match names"}, 400: FAILED[400]},
    openapi_extra=REQUEST,
    dependencies=[limit("general")],
)
async def evaluate_flags(request: Request, principal: KnownPrincipal) -> Response:
    """Evaluate all of them for the caller."""
    try:
        caller = await _caller(request, principal)
    except _Unreadable as error:
        return _failed(400, None, error.code, error.details)
    content = to_json(Flags(flags=dynamic_config.evaluate_all(caller)))
    return conditional(request, content, "application/json", "no-cache", vary="Authorization")


@router.post(
    "/{key}", response_model=Evaluated, responses=FAILED, openapi_extra=REQUEST, dependencies=[limit("general")]
)
async def evaluate_flag(key: str, request: Request, principal: KnownPrincipal) -> Response:
    """Evaluate one of them for the caller."""
    try:
        caller = await _caller(request, principal)
    except _Unreadable as error:
        return _failed(400, key, error.code, error.details)
    found = dynamic_config.evaluate(key, caller)
    if found is None:
        return _failed(404, key, "FLAG_NOT_FOUND", "There is no flag of this key for this caller.")
    return Response(to_json(found), media_type="application/json", headers={"Cache-Control": "no-store"})


async def _caller(request: Request, principal: Principal | None) -> Caller:
    """For whom to evaluate: the verified caller. Who may change the configuration may name another account."""
    body = await request.body()
    try:
        check_encoding(request)
        if body:
            check_type(request, JSON)
        given = parse(body) if body else None
    except AppError as error:
        raise _Unreadable("PARSE_ERROR", error.detail) from None
    context = given.get("context", {}) if isinstance(given, dict) else None
    if not isinstance(context, dict):
        raise _Unreadable("INVALID_CONTEXT", "The body is an object with a `context`, which is an object.")
    target = context.get("targetingKey")
    if not isinstance(target, str | None):
        raise _Unreadable("INVALID_CONTEXT", "`targetingKey` is a string.")
    await dynamic_config.fresh()
    if (
        principal is None
        or Permission.config_write not in principal.permissions
        or target in (None, "", str(principal.id))
    ):
        return dynamic_config.caller_of(principal)
    roles = context.get("roles", [])
    if not isinstance(roles, list):
        raise _Unreadable("INVALID_CONTEXT", "`roles` is a list.")
    try:
        whose = UUID(target)
    except ValueError:
        return ANYBODY  # no account has such an id
    return Caller(whose, frozenset(role for role in roles if isinstance(role, str)))


def _failed(status: int, key: str | None, code: str, details: str) -> Response:
    said = {**({"key": key} if key is not None else {}), "errorCode": code, "errorDetails": details}
    return Response(to_json(said), status, {"Cache-Control": "no-store"}, "application/json")
