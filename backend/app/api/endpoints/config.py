"""The public configuration, and the stream of its changes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from fastapi import Request, Response

from app.api.conditional import conditional
from app.api.deps import Bearer, KnownPrincipal
from app.api.event_stream import EventStream, event
from app.api.problems import raises
from app.api.streams import Reader, Stream
from app.api.strict import StrictRouter
from app.core.dynamic import Caller
from app.core.errors import InvalidAccessToken, SessionRevoked, StreamsFull, TooManyStreams
from app.schemas.config import PublicConfig
from app.services import access, dynamic_config
from app.services.config import public_config

router = StrictRouter(prefix="/config", tags=["service"], responses=raises(InvalidAccessToken, SessionRevoked))

LOOK_EVERY = 0.5  # seconds until a stream looks whether its caller's roles are others

ANYBODY: dict[str, Any] = {"security": [{}, {"OAuth2PasswordBearer": []}]}
EVENTS: dict[str, Any] = {
    "description": "The configuration as `GET /config` answers it, now and after each change.",
    "content": {"text/event-stream": {"schema": {"type": ["string", "object"]}}},
}


@router.get(
    "",
    response_model=PublicConfig,
    responses={304: {"description": "It is what If-None-Match names"}},
    openapi_extra=ANYBODY,
)
async def read_config(request: Request, principal: KnownPrincipal) -> Response:
    """How the service is set up, as far as the caller may know; its `ETag` as `If-None-Match` asks for changes."""
    await dynamic_config.fresh()
    content = _told(dynamic_config.caller_of(principal)).encode()
    return conditional(request, content, "application/json", "no-cache", vary="Authorization")


@router.get(
    "/stream",
    status_code=200,
    response_class=EventStream,
    responses={200: EVENTS, **raises(TooManyStreams, StreamsFull)},
    openapi_extra=ANYBODY,
)
async def follow_config(principal: KnownPrincipal, token: Bearer) -> Response:
    """The configuration as server-sent events. With a token the stream ends with the session, and with the token."""
    reader = None
    if principal:
        reader = Reader(principal.id, principal.session_id, (await access.claims_of(token or "")).expires_at)
    await dynamic_config.fresh()
    return EventStream(reader, partial(_followed, dynamic_config.caller_of(principal), token))


def _told(caller: Caller) -> str:
    return public_config(caller).model_dump_json()


async def _again(caller: Caller, token: str | None) -> Caller:
    """The caller as they are now: their roles may be others. Whether their stream may go on, its guard judges."""
    try:
        return dynamic_config.caller_of(await access.identify(token)) if token else caller
    except Exception:  # noqa: BLE001 - the session has ended, or the database is away, and the guard learns it too
        return caller


@contextmanager
def _followed(caller: Caller, token: str | None, stream: Stream) -> Iterator[None]:
    """Offer the stream what the caller may know, now and whenever that is another."""

    async def tell() -> None:
        last, told = None, ""
        while True:
            now = dynamic_config.version(), await _again(caller, token)
            if now != last:
                last, said = now, _told(now[1])
                if said != told:
                    told = said
                    stream.offer(event(now[0], said))
            await dynamic_config.next_version(now[0], within=LOOK_EVERY)

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
