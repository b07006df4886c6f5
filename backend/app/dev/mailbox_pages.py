"""The mailbox over HTTP: JSON for tests and commands, pages for browsers. Mounted in development only."""

import base64
import hashlib
import re
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from app.core.errors import NotFound, ValidationFailed
from app.dev.mail import Mail
from app.dev.mailbox import Mailbox

TEMPLATES = Path(__file__).parent / "templates"
MOST_LISTED, LISTED = 100, 20
STYLE = (TEMPLATES / "style.css").read_text()
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
MAIL_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; frame-ancestors 'self'; "
    "sandbox allow-popups allow-popups-to-escape-sandbox"
)
"""A stranger's HTML: nothing runs, nothing is fetched, and a link opens in a tab of its own."""

_pages = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
_pages.globals["style"] = STYLE


def routes(mailbox: Mailbox) -> list[Route]:
    """The list, one message, and its HTML alone. Plain functions: they read files, so they run in threads."""

    def box(request: Request) -> Response:
        if request.method == "DELETE":
            mailbox.clear()
            return Response(status_code=204)
        to, limit = request.query_params.get("to", ""), _limit(request)
        found = list(islice(mailbox.list(to=to, before=_cursor(request)), limit + 1))
        mails, more = found[:limit], found[limit - 1].id if len(found) > limit else None
        if _wants_page(request):
            return _page("list.html.j2", mails=mails, more=more, to=to)
        return _private(JSONResponse({"items": [mail.to_json() for mail in mails], "next_cursor": more}))

    def one(request: Request) -> Response:
        mail = _found(mailbox, request)
        return _page("mail.html.j2", mail=mail) if _wants_page(request) else _private(JSONResponse(mail.to_json()))

    def html(request: Request) -> Response:
        mail = _found(mailbox, request)
        return _private(HTMLResponse(_with_links_in_new_tabs(mail.html)), MAIL_POLICY)

    return [
        Route("/dev/mailbox", box, methods=["GET", "DELETE"]),
        Route("/dev/mailbox/{id}", one, methods=["GET"]),
        Route("/dev/mailbox/{id}/html", html, methods=["GET"]),
    ]


def _found(mailbox: Mailbox, request: Request) -> Mail:
    mail = mailbox.get(request.path_params["id"])
    if mail is None:
        raise NotFound
    return mail


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(LISTED))
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MOST_LISTED:
        raise ValidationFailed.at("/query/limit", "out_of_range", f"limit is a number from 1 to {MOST_LISTED}")
    return int(text)


def _cursor(request: Request) -> str:
    """The id before which to list; empty for the newest."""
    text = request.query_params.get("cursor", "")
    try:
        return text and str(UUID(text))
    except ValueError:
        raise ValidationFailed.at("/query/cursor", "cursor_invalid", "cursor is the next_cursor of a list") from None


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _page(template: str, **values: Any) -> Response:
    return _private(HTMLResponse(_pages.get_template(template).render(**values)), PAGE_POLICY)


def _private(response: Response, policy: str | None = None) -> Response:
    """Mails carry tokens: no cache may keep them."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Accept"
    if policy:
        response.headers["Content-Security-Policy"] = policy
    return response


def _with_links_in_new_tabs(html: str) -> str:
    base = '<base target="_blank">'
    return re.sub(r"(<head\b[^>]*>|\Z)", rf"\1{base}", html, count=1, flags=re.IGNORECASE)
