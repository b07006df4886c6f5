"""The answer that does not end by itself: server-sent events, as browsers and `curl -N` read them.

Source: HTML Living Standard, section 9.2, server-sent events.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api import streams
from app.api.recording import ANSWERED
from app.api.streams import Reader, Stream
from app.core.errors import AppError
from app.core.networks import client_of

PING_EVERY = 15.0  # seconds: less than what gateways give an answer that says nothing
PING = b": ping\n\n"
CUT = "neoforge.cut"  # where a connection puts into the scope how to break it off


def event(number: int, data: str) -> bytes:
    """One event: its id, and its data in one line."""
    return f"id: {number}\ndata: {data}\n\n".encode()


class EventStream(Response):
    """A stream of what `follow` offers while it is entered. No connection to the database is held for it."""

    media_type = "text/event-stream"

    def __init__(self, reader: Reader | None, follow: Callable[[Stream], AbstractContextManager[None]]) -> None:
        self._reader, self._follow = reader, follow
        self.status_code, self.background = 200, None
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = scope.get("client")
        client = client_of(peer[0] if peer else None)
        with streams.opened(self._reader, client, scope.get(CUT)) as stream, self._follow(stream):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            scope[ANSWERED] = perf_counter()
            leaving = asyncio.create_task(_until_gone(stream, receive))
            try:
                await _write(stream, send)
            finally:
                leaving.cancel()


async def _write(stream: Stream, send: Send) -> None:
    while not stream.over:
        try:
            async with asyncio.timeout(PING_EVERY):
                body = await stream.next()
        except TimeoutError:
            body = PING
        await send(_piece(body, more=True))
    await send(_piece(b"", more=False))


def _piece(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _until_gone(stream: Stream, receive: Receive) -> None:
    """End the stream when its client is gone."""
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    except AppError:  # of a body that does not come, or has no end: nothing asked for one
        pass
    stream.end()
