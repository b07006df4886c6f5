"""What stock clients look for at the root: the signing keys, the OAuth metadata, and where people turn to."""

from datetime import timedelta
from typing import Any

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse
from pydantic_core import to_json

from app.api.conditional import conditional
from app.api.strict import StrictRouter
from app.core.clock import utc_now
from app.core.config import settings
from app.core.errors import NotFound
from app.core.security import jwks
from app.schemas.base import rfc3339
from app.services import key_ring

SHORT = "public, max-age=300"
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "It is what If-None-Match names"}}
CONTACT_LIFE = timedelta(days=180)  # RFC 9116 advises less than a year

router = StrictRouter(prefix="/.well-known")


@router.get("/jwks.json", tags=["auth"], responses=UNCHANGED)
async def read_jwks(request: Request) -> dict[str, Any]:
    """The public keys that sign access tokens (RFC 7517). The next key stands here before it signs."""
    await key_ring.before_answering()
    return conditional(request, to_json(jwks()), "application/json", SHORT)  # type: ignore[return-value]  # the annotation is for the documentation


@router.get("/oauth-authorization-server", tags=["auth"], responses=UNCHANGED)
async def read_oauth_metadata(request: Request) -> dict[str, Any]:
    """What an OAuth client has to know (RFC 8414)."""
    return conditional(request, to_json(_metadata()), "application/json", SHORT)  # type: ignore[return-value]  # the annotation is for the documentation


def _metadata() -> dict[str, Any]:
    at, public = settings.public_url, ["none"]
    return {
        "issuer": at,
        "token_endpoint": f"{at}/api/v1/auth/token",
        "token_endpoint_auth_methods_supported": public,
        "grant_types_supported": ["password", "refresh_token"],
        "response_types_supported": [],  # required by the RFC, and there is no authorization endpoint
        "revocation_endpoint": f"{at}/api/v1/auth/revoke",
        "revocation_endpoint_auth_methods_supported": public,
        "jwks_uri": f"{at}/.well-known/jwks.json",
        **({"service_documentation": f"{at}/docs"} if settings.serves_docs else {}),
    }


@router.api_route("/change-password", methods=["GET", "HEAD"], include_in_schema=False)
async def change_password() -> Response:
    """Where a password manager leads a person. Source: A Well-Known URL for Changing Passwords, W3C."""
    return RedirectResponse(f"{settings.public_url}/account/forgot", 302, {"Cache-Control": "no-store"})


@router.api_route("/security.txt", methods=["GET", "HEAD"], include_in_schema=False)
async def security_txt() -> Response:
    """Whom to tell of a weakness. Source: RFC 9116."""
    if not settings.security_contact:
        raise NotFound
    today = utc_now().replace(hour=0, minute=0, second=0, microsecond=0)
    lines = (
        f"Contact: {settings.security_contact}",
        f"Expires: {rfc3339(today + CONTACT_LIFE)}",
        "Preferred-Languages: en",
        f"Canonical: {settings.public_url}/.well-known/security.txt",
    )
    return PlainTextResponse("".join(f"{line}\n" for line in lines), headers={"Cache-Control": SHORT})
