"""The short way of the hottest routes: `GET /users/me`, and `POST /auth/refresh`, `/auth/login` and `/auth/register`.

FastAPI's routing, dependencies and validation cost three times all the rest there. Whatever is unusual about a request
takes the usual way; that one answers the same, byte for byte.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from fastapi import Request, Response
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import browser, deps, limits, registering, strict
from app.api.deps import transaction
from app.api.endpoints import auth, users
from app.api.known import Known
from app.api.registering import Answer
from app.core.errors import ValidationFailed
from app.schemas.auth import AccessToken, TokenPair, UserLogin
from app.schemas.users import UserResponse
from app.services import access, refresh, signing_in

PATH = "/api/v1/users/me"
REFRESH, LOGIN, REGISTER = "/api/v1/auth/refresh", "/api/v1/auth/login", registering.PATH
_BEARER = re.compile(rb"Bearer ([A-Za-z0-9._-]+)")
_PLAIN = re.compile(rb'\{"refresh_token": ?"(nfr_[A-Za-z0-9_-]{1,128})"\}')
_PIECES = 4  # that a body of this size comes in, if not from a client that is up to something
_UNUSUAL = frozenset({b"cookie", b"content-encoding", b"x-token-delivery"})
_JSON = (b"content-type", b"application/json")


class _Route:
    """What the metrics and the log call a path."""

    def __init__(self, path: str) -> None:
        self.path_format = path


_IN: frozenset[Callable[..., Any]] = frozenset({deps.no_store, deps.unit_of_work, deps.get_db})
KNOWN_ME = Known(
    users.router,
    "/users/me",
    "GET",
    depends=(deps.no_store, deps.get_principal, deps.bearer),
    limits=(),
    takes={"principal": deps.CurrentPrincipal},
    answers=UserResponse,
)
KNOWN_REFRESH = Known(
    auth.router,
    "/auth/refresh",
    "POST",
    depends=_IN,
    limits=("general",),
    takes={
        "request": Request,
        "response": Response,
        "db": deps.DB,
        "cookie": browser.RefreshCookie,
        "given": auth.GivenRefresh,
    },
    headers={browser.COOKIE},
    answers=TokenPair | AccessToken,
)
KNOWN_LOGIN = Known(
    auth.router,
    "/auth/login",
    "POST",
    depends=_IN,
    limits=("login",),
    takes={"given": UserLogin, "db": deps.DB, "response": Response, "delivery": browser.Delivery},
    headers={"X-Token-Delivery"},
    answers=TokenPair | AccessToken,
)
_ME, _REFRESH, _LOGIN, _REGISTER = _Route(PATH), _Route(REFRESH), _Route(LOGIN), _Route(REGISTER)


async def answered(scope: Scope, authorization: bytes, send: Send) -> bool:
    """Answer a GET of `PATH` that has no body; False, and nothing sent, where it has to go the usual way.

    Raises:
        InvalidAccessToken, SessionRevoked
    """
    if scope["method"] != "GET" or scope["path"] != PATH or scope["query_string"]:
        return False
    bearer = _BEARER.fullmatch(authorization)
    if bearer is None or not KNOWN_ME.route():
        return False
    scope["route"] = _ME
    known = await access.known(bearer[1])
    structlog.contextvars.bind_contextvars(actor_id=str(known.principal.id))
    if known.profile is None:
        known.profile = UserResponse.model_validate(known.principal).model_dump_json().encode()
    await _send(Answer(known.profile), send)
    return True


async def posted(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a POST whose path `POSTED` names and whose body is what that looks for; `app` answers all else."""
    if scope["method"] != "POST" or scope["query_string"] or not _is_plain(scope["headers"]):
        await app(scope, receive, send)
        return
    taken = [await receive()]
    while taken[-1].get("more_body") and len(taken) < _PIECES:
        taken.append(await receive())
    whole = not taken[-1].get("more_body")
    body = b"".join([message.get("body", b"") for message in taken])
    answer = await POSTED[scope["path"]](scope, body) if whole else None
    if answer is None:
        await app(scope, _after(taken, receive), send)
        return
    await _send(answer, send)


async def _refreshed(scope: Scope, body: bytes) -> Answer | None:
    """The pair that follows a token, which is all that there is in the body, and the current one."""
    given = _PLAIN.fullmatch(body) if KNOWN_REFRESH.route() else None
    pair = await refresh.at_once(given[1].decode()) if given else None
    if pair is None:
        return None
    scope["route"] = _REFRESH
    return _pair(pair)


async def _signed_in(scope: Scope, body: bytes) -> Answer | None:
    """The pair for an address and its password. What is not both is not looked at, and not counted.

    Raises: as `POST /auth/login`.
    """
    if not KNOWN_LOGIN.route() or not signing_in.may_be_at_once():
        return None
    try:
        given = UserLogin.model_validate(strict.parse(body))
    except (ValidationFailed, ValidationError):
        return None
    scope["route"] = _LOGIN
    await limits.client_passes("login", scope)
    tried = await signing_in.try_at_once(given)
    pair = await signing_in.let_in_at_once(tried)
    if pair is None:
        async with transaction() as db:
            pair = await signing_in.let_in(db, tried)
    return _pair(pair)


def _pair(pair: TokenPair) -> Answer:
    return Answer(pair.model_dump_json().encode())


async def _registered(scope: Scope, body: bytes) -> Answer | None:
    return await registering.answer(scope, body, _REGISTER)


POSTED = {REFRESH: _refreshed, LOGIN: _signed_in, REGISTER: _registered}


def _is_plain(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """JSON, said once, in no encoding, without a cookie."""
    types = [value for name, value in headers if name == b"content-type"]
    return types == [b"application/json"] and not any(name in _UNUSUAL for name, _ in headers)


def _after(taken: list[Message], receive: Receive) -> Receive:
    """What reads a body from its beginning, although some of it was taken."""

    async def again() -> Message:
        return taken.pop(0) if taken else await receive()

    return again


async def _send(answer: Answer, send: Send) -> None:
    headers = [(b"content-length", b"%d" % len(answer.body)), _JSON, *answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
