"""Revocation as an OAuth 2.0 client asks for it (RFC 7009)."""

from typing import Any

from fastapi import Request, Response

from app.api.deps import DB
from app.api.limits import limit
from app.api.oauth import NO_STORE, REVOCATION_FORM, OAuthError, refusal, token_form
from app.api.strict import StrictRouter
from app.services import refresh

router = StrictRouter(prefix="/auth", tags=["auth"])
DONE: dict[str, Any] = {"description": "The token is dead, or never was one of ours"}


@router.post(
    "/revoke",
    response_model=None,
    response_class=Response,
    dependencies=[limit("general")],
    openapi_extra=REVOCATION_FORM,
    responses={200: DONE, 400: {"model": OAuthError}},
)
async def revoke_token(request: Request, db: DB) -> Response:
    """End the session of a refresh or access token. Nothing tells whether there was one."""
    form = await token_form(request)
    if form is None or not form.get("token"):
        return refusal("invalid_request", "The form is malformed, or token is missing.")
    await refresh.revoke(db, form["token"])
    return Response(headers=NO_STORE)
