"""OAuth 2.0's own form and errors (RFC 6749), so that stock clients and the docs page's Authorize button work."""

from typing import Any
from urllib.parse import parse_qsl

import structlog
from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from sqlmodel.ext.asyncio.session import AsyncSession

from app.api.strict import FORM as FORM_TYPE
from app.api.strict import IS_FORM, check_encoding, check_type
from app.core.errors import AppError, RateLimited
from app.schemas.auth import TokenPair, UserLogin
from app.services import refresh, signing_in

MAX_FIELDS = 32
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_TEXT = {"type": "string", "minLength": 1, "maxLength": 512}


def _form(required: str, **properties: Any) -> dict[str, Any]:
    """What an operation's `openapi_extra` says of its form."""
    schema = {"type": "object", "required": [required], "properties": properties}
    return {"requestBody": {"required": True, "content": {FORM_TYPE: {"schema": schema}}}}


FORM = _form(
    "grant_type",
    grant_type={"type": "string", "enum": ["password", "refresh_token"]},
    username={**_TEXT, "description": "the email, for `password`"},
    password={**_TEXT, "format": "password"},
    refresh_token={**_TEXT, "description": "for `refresh_token`"},
)
REVOCATION_FORM = _form(
    "token",
    token={"type": "string", "minLength": 1, "description": "a refresh or an access token"},
    token_type_hint={"type": "string", "description": "not needed: a token says itself what it is"},
)


class OAuthError(BaseModel):
    """An error as RFC 6749, section 5.2, has it."""

    error: str = Field(examples=["invalid_request", "invalid_grant", "unsupported_grant_type"])
    error_description: str


def refusal(error: str, description: str, *, because: str | None = None) -> JSONResponse:
    """The RFC's error. The log line of the request says our own code of the reason, where there is one."""
    structlog.contextvars.bind_contextvars(code=because or error)
    return JSONResponse({"error": error, "error_description": description}, status_code=400, headers=NO_STORE)


async def token_form(request: Request) -> dict[str, str] | None:
    """The fields of the form; None when it is malformed or names one twice.

    Raises:
        UnsupportedMediaType: it is no form, or encoded.
    """
    check_encoding(request)
    check_type(request, IS_FORM)
    try:
        text = (await request.body()).decode("ascii")
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:
        return None
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) and "\0" not in text and "%00" not in text else None


async def grant(db: AsyncSession, form: dict[str, str] | None) -> TokenPair | JSONResponse:
    """A token pair for the form's grant, or the RFC's error."""
    needed = {"password": ("username", "password"), "refresh_token": ("refresh_token",)}
    if form is None or not form.get("grant_type"):
        return refusal("invalid_request", "The form is malformed, or grant_type is missing.")
    kind = form["grant_type"]
    if kind not in needed:
        return refusal("unsupported_grant_type", "The grants are: password, refresh_token.")
    missing = [name for name in needed[kind] if not form.get(name)]
    if missing:
        return refusal("invalid_request", f"Missing: {', '.join(missing)}.")
    try:
        if kind == "refresh_token":
            return await refresh.refresh(db, form["refresh_token"])
        return await signing_in.login(db, UserLogin(email=form["username"], password=form["password"]))
    except (AppError, ValidationError) as error:
        if isinstance(error, AppError) and (error.status >= 500 or isinstance(error, RateLimited)):
            raise
        # Returned and not raised, so that the transaction commits: a replayed token ends its session here too.
        if isinstance(error, AppError):
            return refusal("invalid_grant", error.detail, because=error.code)
        return refusal("invalid_grant", "The email or the password is not right", because="validation_failed")
