"""One strict reader for every body, run before FastAPI's own: what it lets pass is plain JSON within our bounds."""

import re
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, NoReturn
from urllib.parse import parse_qsl, quote_from_bytes

import jiter
from fastapi import APIRouter, Request, params
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.responses import Response

from app.api import idempotency
from app.core.errors import UnsupportedMediaType, ValidationFailed
from app.core.plain import MAX_DEPTH

CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
MAX_FIELDS = 100
FORM = "application/x-www-form-urlencoded"
IS_FORM = re.compile(re.escape(FORM))
_NAME = r"[a-z0-9!#$&^_.+-]+"  # RFC 6838, section 4.2
JSON = re.compile(rf"application/json|{_NAME}/{_NAME}\+json")
_CHARSETS = ("utf-8", "us-ascii")
_PLACE = re.compile(r" at line \d+ column \d+$")
_ASCII = bytes(range(128)).decode("ascii")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRoute(APIRoute):
    """A route whose body is read by `read_json` or `read_form` before anything else looks at it.

    Where it is a POST that creates (201, 202), it honours `Idempotency-Key`.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **kwargs: Any) -> None:
        if "POST" in (kwargs.get("methods") or ()) and kwargs.get("status_code") in idempotency.CREATED:
            kwargs["dependencies"] = [*(kwargs.get("dependencies") or ()), idempotency.claims()]
        super().__init__(path, endpoint, **kwargs)

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        read = self._reader()

        async def strictly(request: Request) -> Response:
            if b"%00" in request.scope["query_string"]:
                raise ValidationFailed.at("/query", "nul_character", "The query has a NUL character")
            if read is not None:
                await read(request)
            try:
                answer = await handle(request)
            except idempotency.Replayed as replayed:
                return replayed.answer
            await idempotency.keep(request, answer)
            return answer

        return strictly

    def _reader(self) -> Callable[[Request], Coroutine[Any, Any, None]] | None:
        if self.body_field is not None:
            return read_form if isinstance(self.body_field.field_info, params.Form) else read_json
        if "requestBody" in (self.openapi_extra or {}) or CHANGING.isdisjoint(self.methods or ()):
            return None  # the endpoint reads a form of its own; or a body has no meaning, and nobody looks at it
        return read_nothing


class StrictRouter(APIRouter):
    """An `APIRouter` of strict routes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"route_class": StrictRoute, "redirect_slashes": False, **kwargs})


async def read_json(request: Request) -> None:
    """Read the body as strict JSON and leave the value where FastAPI looks for it. Whether one is needed, it judges.

    Raises:
        UnsupportedMediaType, ValidationFailed
        PayloadTooLarge, RequestTimeout: from the middleware, while the body is read.
    """
    body = await request.body()
    check_encoding(request)
    if body:
        check_type(request, JSON)
        request._json = parse(body)
        # FastAPI knows JSON by `application/…` alone.
        request._headers = MutableHeaders(raw=[*request.headers.raw])
        request._headers["content-type"] = "application/json"


async def read_nothing(request: Request) -> None:
    """Refuse a body where none is taken. An empty object or null says nothing, and is let pass.

    Raises: as `read_json`.
    """
    await read_json(request)
    if getattr(request, "_json", None) not in ({}, None):
        _fail("extra_forbidden", "This operation takes no body")


async def read_form(request: Request) -> None:
    """Check an urlencoded form before FastAPI parses it, where it would mend what is broken.

    Raises: as `read_json`.
    """
    body = await request.body()
    check_encoding(request)
    if not body:
        return
    check_type(request, IS_FORM)
    # A browser encodes every byte; curl sends UTF-8 as it is. Both mean the same.
    request._body = quote_from_bytes(body, safe=_ASCII).encode()
    try:
        pairs = parse_qsl(request._body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        _fail("form_invalid", "The form is not valid UTF-8, or has too many fields")
    names = [name for name, _ in pairs]
    if any("\0" in part for pair in pairs for part in pair):
        _fail("nul_character", "The form has a NUL character")
    if len(names) != len(set(names)):
        _fail("duplicate_key", "The form names a field twice")


def check_encoding(request: Request) -> None:
    if "content-encoding" in request.headers:
        raise UnsupportedMediaType("A compressed or otherwise encoded body is not read")


def check_type(request: Request, expected: re.Pattern[str]) -> None:
    """Raise `UnsupportedMediaType` unless there is one Content-Type and it is the expected one, in UTF-8."""
    given = request.headers.getlist("content-type")
    essence, _, parameters = given[0].partition(";") if len(given) == 1 else ("", "", "")
    if not expected.fullmatch(essence.strip().lower()):
        raise UnsupportedMediaType
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in _CHARSETS:
            raise UnsupportedMediaType("The body has to be in UTF-8")


def parse(body: bytes) -> Any:
    """The value of a strict JSON text.

    Raises:
        ValidationFailed: it is not UTF-8 or no JSON, has a duplicate key, a number without bound, NUL, a lone
            surrogate, or is nested deeper than 32.
    """
    try:
        value = jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        said = str(error)
        place = _PLACE.search(said)
        where = place.group() if place else ""
        if said.startswith("Detected duplicate key"):
            _fail("duplicate_key", f"An object has a key twice{where}")
        if said.startswith("recursion limit"):
            _fail("json_too_deep", f"The body is nested deeper than {MAX_DEPTH}")
        _fail("json_invalid", f"The body is not valid JSON in UTF-8{where}")
    _check(value, may_have_nul=b"\\u0000" in body)
    return value


def _check(value: Any, *, may_have_nul: bool) -> None:
    """Refuse what jiter lets pass: depth over 32, NUL, and numbers like 1e400, which it reads as infinite.

    It goes level by level over the containers alone: a usual body costs microseconds, 1 MiB of `[],[],…` 0.3 s.
    """
    level: list[Any] = [[value]]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for container in level:
            children = container.values() if type(container) is dict else container
            if inf in children or -inf in children:
                _fail("number_out_of_range", "The body has a number that is out of range")
            if may_have_nul and any(type(text) is str and "\0" in text for text in (*container, *children)):
                _fail("nul_character", "The body has a NUL character")
            below += [child for child in children if type(child) is dict or type(child) is list]
        level = below
    if level:
        _fail("json_too_deep", f"The body is nested deeper than {MAX_DEPTH}")


def _fail(code: str, detail: str) -> NoReturn:
    """Say what is wrong with the whole body."""
    raise ValidationFailed.at("", code, detail)
