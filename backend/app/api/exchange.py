"""One request and its answer, between the server and the application: its id, its bounds, its headers, its errors."""

import asyncio
import random
import re

import structlog
from starlette.types import Message, Receive, Scope, Send

from app.api import cors, limits
from app.api.client import client_address, host_is_known
from app.api.pressure import Turn
from app.api.problems import problem
from app.core.config import settings
from app.core.context import Origin, origin
from app.core.db_errors import is_unavailable, sqlstate
from app.core.errors import (
    AppError,
    BadRequest,
    InternalError,
    NotFound,
    PayloadTooLarge,
    RequestTimeout,
    ServiceUnavailable,
    UnknownHost,
)

MAX_BODY = 1024 * 1024  # bytes
BODY_TIMEOUT = 20.0  # seconds for a whole body to arrive

_CSP = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_SECURITY: cors.RawHeaders = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
if settings.is_production:
    _SECURITY.append((b"strict-transport-security", b"max-age=63072000; includeSubDomains"))  # two years
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
REPEATED = b"repeated, repeated"
_chance = random.Random()  # noqa: S311 - an id tells requests apart and keeps no secret; the system's costs a call each
_WANTED = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"x-request-id", b"traceparent", b"origin", b"user-agent"}
    | {b"authorization", b"access-control-request-method", b"access-control-request-headers"}
)

log = structlog.get_logger()


class Exchange:
    """One request and its answer, on their way between the server and the application."""

    __slots__ = (
        *("_complete", "_deadline", "_send", "_size"),
        *("raw_receive", "request_id", "scope", "seen", "status", "turn"),
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.raw_receive, self._send = scope, receive, send
        self.status = 0
        self._complete, self._size, self._deadline = False, 0, 0.0
        self.turn: Turn | None = None
        self.seen: dict[bytes, bytes] = {}
        forwarded: list[bytes] = []
        for name, value in scope["headers"]:
            if name in _WANTED:
                # Twice is not once: a repeated Host or Content-Length is made one that no check lets pass.
                self.seen[name] = REPEATED if name in self.seen else value
            elif name == b"x-forwarded-for":
                forwarded.append(value)
        self._identify(forwarded)

    def _identify(self, forwarded: list[bytes]) -> None:
        """Settle the request's id, its trace and the client's address."""
        given, scope = self.seen.get(b"x-request-id", b""), self.scope
        self.request_id = given.decode() if _REQUEST_ID.fullmatch(given) else f"{_chance.getrandbits(128):032x}"
        scope["request_id"] = self.request_id
        known = {"request_id": self.request_id}
        trace = _TRACEPARENT.fullmatch(self.seen.get(b"traceparent", b""))
        if trace:
            known["trace_id"] = trace[1].decode()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**known)
        scope["peer"] = peer = scope.get("client")
        address = None
        if peer is not None:
            address = client_address(peer[0], forwarded)
            scope["client"] = (address, peer[1] if address == peer[0] else 0)
        agent = self.seen.get(b"user-agent")
        origin.set(Origin(self.request_id, address, agent.decode("latin-1") if agent else None))

    def admit(self) -> None:
        """Raise the `AppError` of a request that is refused before anything looks at it."""
        if not host_is_known(self.seen.get(b"host", b"")):
            raise UnknownHost
        limits.admit(self.scope)
        if self.seen.get(b"authorization") is REPEATED:
            raise BadRequest("Authorization is there more than once")
        length = self.seen.get(b"content-length")
        if length is not None:
            if not length.isdigit():
                raise BadRequest("Content-Length is not a number")
            if len(length) > len(str(MAX_BODY)) or int(length) > MAX_BODY:
                raise PayloadTooLarge
        path = self.scope["path"]
        if "\0" in path or not (path.isascii() or _encodes(path)):
            raise NotFound

    async def receive(self) -> Message:
        """The next piece of the body, within its bounds of size and time."""
        if self._complete:
            return await self.raw_receive()
        loop = asyncio.get_running_loop()
        self._deadline = self._deadline or loop.time() + BODY_TIMEOUT
        if self.turn:
            self.turn.pause()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self.raw_receive()
        except TimeoutError:
            raise RequestTimeout(headers={"Connection": "close"}) from None
        if self.turn:
            self.turn.wait()
        self._size += len(message.get("body", b""))
        if self._size > MAX_BODY:
            raise PayloadTooLarge
        self._complete = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if self.turn is None or not self.turn.is_late:
            await self._tell(message)

    async def _tell(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.turn:
                self.turn.end()
            headers = [
                *message.get("headers", ()),
                (b"x-request-id", self.request_id.encode()),
                *_SECURITY,
                *cors.headers_for(self.seen.get(b"origin")),
                *limits.headers_for(self.scope),
            ]
            if not any(name == _CSP[0] for name, _ in headers):
                headers.append(_CSP)
            if self.status in (204, 304):  # they have no content, of whatever type
                headers = [header for header in headers if header[0] != b"content-type"]
            message = {**message, "headers": headers}
        await self._send(message)

    async def fail(self, error: Exception) -> None:
        """Answer `error` as a problem. Once one has begun nothing can be said: the server closes the connection."""
        if isinstance(error, AppError):
            told = error
        elif is_unavailable(error):
            log.warning("database_unavailable", error=type(error).__name__, sqlstate=sqlstate(error))
            told = ServiceUnavailable()
        else:
            log.error("request_failed", exc_info=error)
            told = InternalError()
        if self.status == 0:
            await problem(self.scope, told)(self.scope, self.raw_receive, self._tell)

    async def refuse(self) -> None:
        """Say that it takes too long."""
        log.warning("request_overdue")
        await self.fail(ServiceUnavailable())


def _encodes(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True
