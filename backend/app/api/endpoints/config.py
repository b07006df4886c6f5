"""The public configuration."""

from fastapi import Request, Response

from app.api.conditional import conditional
from app.api.strict import StrictRouter
from app.schemas.config import PublicConfig
from app.services.config import public_config

router = StrictRouter(prefix="/config", tags=["service"])


@router.get("", response_model=PublicConfig, responses={304: {"description": "It is what If-None-Match names"}})
async def read_config(request: Request) -> Response:
    """How the service is set up, as far as clients may know. Send its `ETag` as `If-None-Match` to ask for changes."""
    content = public_config().model_dump_json().encode()
    return conditional(request, content, "application/json", "no-cache", vary="Authorization")
