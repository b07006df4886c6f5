"""Bytes on a connection: what uvicorn's HTTP/1.1 leaves open, closed.

A request's head is bounded while it arrives, what is no HTTP gets a problem like every other error, and the authority
of an absolute target counts as the Host. A usual request pays a few comparisons for it.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.api import streams
from app.api.corked import Corked
from app.api.event_stream import CUT
from app.api.middleware import Refusing
from app.core.errors import AppError, BadRequest, HeadTooLarge

MAX_HEAD = 64 * 1024  # bytes of the request line and the headers together
MAX_HEADERS = 100


class Refused(Exception):
    """Ends the parsing of a request, with what is answered."""

    def __init__(self, error: AppError) -> None:
        super().__init__()
        self.error = error


class Protocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        corked: Any = Corked(transport, self.loop)
        super().connection_made(corked)

    _refused = False
    _in_head = False
    _fed = 0  # bytes of the head in the pieces before this one
    _piece = 0
    url = b""

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unset_keepalive_if_required()
        began_in_head, self._piece = self._in_head, len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # nothing is spoken here but HTTP/1.1: answered as if it were not asked for
            return
        except httptools.HttpParserError as error:
            why = error.__context__
            self._refuse(why.error if isinstance(why, Refused) else BadRequest())
            return
        if self._in_head:
            # A piece in which the head began may have the end of another request before it: it is not counted whole.
            self._fed += len(data) if began_in_head else 1
            if self._fed > MAX_HEAD or len(self.headers) > MAX_HEADERS:
                self._refuse(HeadTooLarge())

    def shutdown(self) -> None:
        streams.end_all()  # they would have no end, and the process would wait for them
        super().shutdown()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: Any = self.scope
        scope[CUT] = self.transport.abort
        self._in_head, self._fed = True, 0

    def on_headers_complete(self) -> None:
        if (self._fed or self._piece > MAX_HEAD) and self._size() > MAX_HEAD:
            raise Refused(HeadTooLarge())
        if len(self.headers) > MAX_HEADERS:
            raise Refused(HeadTooLarge())
        if self.url[:1] != b"/":
            self._take_authority()
        super().on_headers_complete()
        self._in_head = False

    def _size(self) -> int:
        """Bytes of the head, which is complete."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _take_authority(self) -> None:
        """Put the authority of an absolute target in place of the Host. Source: RFC 9112, section 3.2.2."""
        scheme, found, rest = self.url.partition(b"://")
        if not found or b"/" in scheme:
            return
        authority = rest.partition(b"/")[0].partition(b"?")[0]
        places = [place for place, (name, _) in enumerate(self.headers) if name == b"host"]
        if len(places) == 1:  # none or several are refused with or without it
            self.headers[places[0]] = (b"host", authority)

    # --- refusing ---

    def _refuse(self, error: AppError) -> None:
        """Answer `error` after the requests that stand before this one, and close. What still arrives is not read."""
        self._refused = True
        app: Any = Refusing(error)
        cycle = self._refusal()
        last = self.cycle
        if last is not None and not self._in_head and last.more_body:  # it broke in the body of a request
            if self.pipeline and self.pipeline[0][0] is last:  # which has not begun
                self.pipeline[0] = (cycle, app)
                return
            if last.response_started:
                self.transport.close()
                return
            last.disconnected = True
            last.message_event.set()
        elif last is not None and not last.response_complete:
            self.pipeline.appendleft((cycle, app))
            return
        self.cycle = cycle
        self._start_asgi_task(cycle, app)

    def _refusal(self) -> RequestResponseCycle:
        """An exchange of its own: no route ever sees it."""
        path = self.url.partition(b"?")[0]
        scope: Any = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": (self.headers or [])[:MAX_HEADERS],
            "state": {},
            "method": "UNKNOWN",
            "path": "/",
            "raw_path": path if path[:1] == b"/" else b"/",
            "query_string": b"",
        }
        lingering: Any = Lingering(self.transport)
        return RequestResponseCycle(
            scope=scope,
            transport=lingering,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )


class Lingering:
    """A transport whose end is said and not cut: a client that is still sending would lose the answer.

    The keep-alive timer closes it after five seconds, if the client has not.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.write, self.is_closing = transport.write, transport.is_closing

    def close(self) -> None:
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:  # TLS has no half of an end
            self._transport.close()
