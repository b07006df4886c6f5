"""What people open at the root: the documentation and small pages. All from the package."""

import inspect
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastapi_offline
from fastapi import Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from app.api.conditional import conditional
from app.api.strict import StrictRouter
from app.core.config import settings
from app.core.errors import AppError, NotFound, catalogue

if TYPE_CHECKING:
    from jinja2 import Environment

STATIC = Path(__file__).resolve().parents[1] / "static"
OFFLINE = Path(fastapi_offline.__file__).parent / "static"
MONTH = "public, max-age=2592000"
HOUR = "public, max-age=3600"

_BASE = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; connect-src 'self'; "
PAGE = _BASE + "script-src 'self'; style-src 'self'"
# Both viewers make <style> elements at run time; Redoc searches in a worker that it makes from a blob.
DOCS = _BASE + "script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src blob:"

router = StrictRouter()
docs_router = StrictRouter()


@lru_cache(maxsize=1)
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader  # with the first page, not with the process

    return Environment(loader=FileSystemLoader(STATIC), autoescape=True)


def _page(name: str, csp: str = PAGE, cache: str = "no-store", **values: Any) -> HTMLResponse:
    html = _templates().get_template(f"{name}.html.j2").render(**values)
    return HTMLResponse(html, headers={"Content-Security-Policy": csp, "Cache-Control": cache})


class WholeFile(FileResponse):
    """A file of ours, always all of it: Starlette answers a Range that it does not like with plain text."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [header for header in scope["headers"] if header[0] != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


def _serve(to: StrictRouter, path: str, file: Path, cache: str) -> None:
    """Answer `path` with a file of ours."""

    async def send() -> WholeFile:
        return WholeFile(file, headers={"Cache-Control": cache, "Accept-Ranges": "none"})

    to.add_api_route(path, send, methods=["GET", "HEAD"], include_in_schema=False)


# --- for people -----------------------------------------------------------------------------------------------------


@router.api_route("/problems", methods=["GET", "HEAD"], include_in_schema=False)
async def list_problems() -> HTMLResponse:
    return _page("problems", cache=HOUR, title="Problems", root="", errors=list(catalogue().values()))


@router.api_route("/problems/{code}", methods=["GET", "HEAD"], include_in_schema=False)
async def explain_problem(code: str) -> HTMLResponse:
    error = catalogue().get(code)
    if error is None:
        raise NotFound
    kind = f"{settings.public_url}/problems/{code}"
    return _page("problem", cache=HOUR, title=error.title(), root="../", error=error, type=kind,
                 explanation=_explanation(error))  # fmt: skip


def _explanation(error: type[AppError]) -> list[str]:
    """The paragraphs of the error's docstring after its title."""
    paragraphs = inspect.cleandoc(error.__doc__ or "").split("\n\n")[1:]
    return [" ".join(paragraph.split()) for paragraph in paragraphs]


@router.api_route("/account/verify", methods=["GET", "HEAD"], include_in_schema=False)
async def verify_page() -> HTMLResponse:
    """Its button posts the token. Opening the page, as mail scanners do, uses nothing up."""
    return _page("verify", title="Confirm your email address", root="../")


@router.api_route("/account/forgot", methods=["GET", "HEAD"], include_in_schema=False)
async def forgot_page() -> HTMLResponse:
    """Where a person without a link asks for one; password managers are led here."""
    return _page("forgot", title="Set a new password", root="../")


@router.api_route("/account/reset", methods=["GET", "HEAD"], include_in_schema=False)
async def reset_page() -> HTMLResponse:
    """Its form posts the token with the new password."""
    return _page("reset", title="Set a new password", root="../", shortest=settings.password_min_length)


@router.api_route("/account/undo", methods=["GET", "HEAD"], include_in_schema=False)
async def undo_page() -> HTMLResponse:
    """Its button posts the token that brings an old address back."""
    return _page("undo", title="Bring your email address back", root="../")


_serve(router, "/account/page.css", STATIC / "page.css", HOUR)
for script in ("link", "verify", "forgot", "reset", "undo"):
    _serve(router, f"/account/{script}.js", STATIC / f"{script}.js", HOUR)


# --- documentation --------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _document(app: Any) -> bytes:
    return to_json(app.openapi())


@docs_router.api_route("/openapi.json", methods=["GET", "HEAD"], include_in_schema=False)
async def read_openapi(request: Request) -> Response:
    return conditional(request, _document(request.app), "application/json", "no-cache")


@docs_router.api_route("/docs", methods=["GET", "HEAD"], include_in_schema=False)
async def docs() -> HTMLResponse:
    return _page("docs", csp=DOCS)


@docs_router.api_route("/redoc", methods=["GET", "HEAD"], include_in_schema=False)
async def redoc() -> HTMLResponse:
    return _page("redoc", csp=DOCS)


_serve(docs_router, "/docs/docs.js", STATIC / "docs.js", HOUR)
_serve(docs_router, "/docs/favicon.png", OFFLINE / "favicon.png", MONTH)
_serve(docs_router, "/docs/swagger-ui.css", OFFLINE / "swagger-ui.css", MONTH)
_serve(docs_router, "/docs/swagger-ui-bundle.js", OFFLINE / "swagger-ui-bundle.js", MONTH)
_serve(docs_router, "/redoc/redoc.standalone.js", OFFLINE / "redoc.standalone.js", MONTH)
