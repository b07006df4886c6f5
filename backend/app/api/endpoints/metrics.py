"""Prometheus reads here."""

from hmac import compare_digest
from typing import Annotated

from fastapi import Depends, Request, Response

from app.api.client import read_address
from app.api.problems import raises
from app.api.strict import StrictRouter
from app.core.config import settings
from app.core.errors import InvalidAccessToken, NotAuthenticated, NotFound
from app.core.exposition import exposition
from app.services import sealing

FORWARDING = ("forwarded", "via", "x-forwarded-for", "x-real-ip")


async def guard(request: Request) -> None:
    """In production: only with METRICS_TOKEN, or, where there is none, only from inside and straight.

    Raises:
        NotAuthenticated, InvalidAccessToken: the token is missing or wrong.
        NotFound: it came from outside, or through a proxy.
    """
    if not settings.is_production:
        return
    if settings.metrics_token:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise NotAuthenticated("METRICS_TOKEN is needed as bearer")
        if not compare_digest(token.strip().encode(), settings.metrics_token.encode()):
            raise InvalidAccessToken("This is not METRICS_TOKEN")
        return
    peer = request.scope.get("peer")
    address = read_address(peer[0]) if peer else None
    inside = address is not None and (address.is_loopback or address.is_private)
    if not inside or any(name in request.headers for name in FORWARDING):
        raise NotFound


router = StrictRouter(prefix="/metrics", tags=["service"])


@router.get(
    "",
    response_class=Response,
    responses={
        200: {"description": "The metrics", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **raises(NotAuthenticated, InvalidAccessToken, NotFound),
    },
)
def read_metrics(
    request: Request, _: Annotated[None, Depends(guard)], __: Annotated[None, Depends(sealing.measure)]
) -> Response:
    """All metrics as Prometheus text, or as OpenMetrics where `Accept` asks for it. Not for the public."""
    content, content_type = exposition(request.headers.get("accept", ""))
    return Response(content, headers={"Content-Type": content_type, "Cache-Control": "no-store"})
