"""The short way of the hottest routes, `GET /users/me` and `POST /auth/refresh`.

FastAPI's routing, dependencies and validation cost three times all the rest there. Whatever is unusual about a request
takes the usual way; that one answers the same, byte for byte.
"""

import re
from collections.abc import Iterable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.schemas.users import UserResponse
from app.services import access, refresh

PATH = "/api/v1/users/me"
REFRESH = "/api/v1/auth/refresh"
_BEARER = re.compile(rb"Bearer ([A-Za-z0-9._-]+)")
_PLAIN = re.compile(rb'\{"refresh_token": ?"(nfr_[A-Za-z0-9_-]{1,128})"\}')
_PIECES = 4  # that a body of this size comes in, if not from a client that is up to something
_UNUSUAL = frozenset({b"cookie", b"content-encoding"})
_HEADERS = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


class _Route:
    """What the metrics and the log call a path."""

    def __init__(self, path: str) -> None:
        self.path_format = path


_ME, _REFRESH = _Route(PATH), _Route(REFRESH)


async def answered(scope: Scope, authorization: bytes, send: Send) -> bool:
    """Answer a GET of `PATH` that has no body; False, and nothing sent, where it has to go the usual way.

    Raises:
        InvalidAccessToken, SessionRevoked
    """
    if scope["method"] != "GET" or scope["path"] != PATH or scope["query_string"]:
        return False
    bearer = _BEARER.fullmatch(authorization)
    if bearer is None:
        return False
    scope["route"] = _ME
    known = await access.known(bearer[1])
    structlog.contextvars.bind_contextvars(actor_id=str(known.principal.id))
    if known.profile is None:
        known.profile = UserResponse.model_validate(known.principal).model_dump_json().encode()
    await _send(known.profile, send)
    return True


async def refreshed(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a POST to `REFRESH` whose body is one token and nothing else, the current one; `app` answers all else."""
    if scope["method"] != "POST" or scope["query_string"] or not _is_plain(scope["headers"]):
        await app(scope, receive, send)
        return
    taken = [await receive()]
    while taken[-1].get("more_body") and len(taken) < _PIECES:
        taken.append(await receive())
    given = _PLAIN.fullmatch(b"".join([message.get("body", b"") for message in taken]))
    pair = await refresh.at_once(given[1].decode()) if given else None
    if pair is None:
        await app(scope, _after(taken, receive), send)
        return
    scope["route"] = _REFRESH
    await _send(pair.model_dump_json().encode(), send)


def _is_plain(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """JSON, said once, in no encoding, without a cookie."""
    types = [value for name, value in headers if name == b"content-type"]
    return types == [b"application/json"] and not any(name in _UNUSUAL for name, _ in headers)


def _after(taken: list[Message], receive: Receive) -> Receive:
    """What reads a body from its beginning, although some of it was taken."""

    async def again() -> Message:
        return taken.pop(0) if taken else await receive()

    return again


async def _send(body: bytes, send: Send) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length, *_HEADERS]})
    await send({"type": "http.response.body", "body": body})
