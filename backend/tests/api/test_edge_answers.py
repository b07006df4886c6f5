"""What goes out: the headers of every answer, problems, CORS, errors that nobody foresaw."""

import asyncio
import json
from ipaddress import ip_network

import pytest
from fastapi import Request
from fastapi.responses import StreamingResponse
from httpx2 import ASGITransport, AsyncClient
from sqlalchemy.exc import InterfaceError
from starlette.exceptions import HTTPException

from app.api import exchange
from app.api.client import _trusted
from app.api.strict import StrictRouter
from app.core.config import settings
from app.core.errors import catalogue
from app.main import create_app
from tests.flows import V1, problem

ORIGIN = settings.origins[0]
PREFLIGHT = {"origin": ORIGIN, "access-control-request-method": "POST"}


@pytest.fixture
async def broken(app):
    """A client of the application with routes that fail, each in its own way."""
    router = StrictRouter(prefix="/broken")

    @router.get("/bug")
    async def bug():
        raise RuntimeError("password=hunter2 SELECT * FROM users")

    @router.get("/away")
    async def away():
        raise InterfaceError("SELECT 1", {}, OSError("connection refused"))

    @router.get("/http/{status}")
    async def http(status: int):
        raise HTTPException(status, "said by a library", headers={"X-Said": "yes"})

    @router.get("/midway")
    async def midway():
        async def pieces():
            yield b"first"
            raise RuntimeError("too late for a problem")

        return StreamingResponse(pieces())

    @router.get("/client")
    async def who(request: Request):
        return request.client

    application = create_app()
    application.include_router(router)
    transport = ASGITransport(application, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url=settings.public_url, trust_env=False) as client:
        yield client


def assert_complete(answer):
    """What every answer carries."""
    headers = answer.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors 'none'")
    assert headers["referrer-policy"] == "no-referrer"
    assert "Origin" in headers["vary"]
    assert headers["x-request-id"]
    assert "server" not in headers
    assert "strict-transport-security" not in headers  # outside production


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", f"{V1}/health", {}, 200),
        ("GET", "/nope", {}, 404),
        ("PATCH", f"{V1}/health", {}, 405),
        ("GET", f"{V1}/users/me", {}, 401),
        ("GET", f"{V1}/health", {"headers": {"host": "evil"}}, 400),
        ("POST", f"{V1}/auth/login", {"content": b"x"}, 415),
        ("POST", f"{V1}/auth/login", {"content": b"x", "headers": {"content-length": "9999999"}}, 413),
        ("POST", f"{V1}/auth/login", {"json": {}}, 422),
        ("OPTIONS", f"{V1}/health", {"headers": PREFLIGHT}, 204),
        ("OPTIONS", f"{V1}/health", {"headers": {**PREFLIGHT, "origin": "https://evil"}}, 403),
        ("GET", "/broken/bug", {}, 500),
        ("GET", "/broken/away", {}, 503),
        ("GET", "/docs", {}, 200),
        ("GET", "/account/verify.js", {}, 200),
    ],
)
async def test_every_answer_is_complete(broken: AsyncClient, method, path, options, status):
    answer = await broken.request(method, path, **options)
    assert answer.status_code == status
    assert_complete(answer)
    if status >= 400:
        told = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert told["type"] == f"{settings.public_url}/problems/{told['code']}"
        assert told["title"] == catalogue()[told["code"]].title()
        assert (told["status"], told["instance"]) == (status, path)
        assert told["request_id"] == answer.headers["x-request-id"]


async def test_what_nobody_foresaw_is_500_without_a_word_of_it(broken: AsyncClient, capfd):
    answer = await broken.get("/broken/bug?token=verysecret")
    assert problem(answer) == (500, "internal_error")
    assert not any(word in answer.text for word in ("hunter2", "SELECT", "Runtime", "/work", ".py", "verysecret"))
    (line,) = [json.loads(line) for line in capfd.readouterr().err.splitlines() if "request_failed" in line]
    assert "RuntimeError" in line["exception"]
    assert "hunter2" not in line["exception"]
    assert line["request_id"] == answer.json()["request_id"]


async def test_a_database_that_is_away_is_503_and_says_when_to_come_back(broken: AsyncClient):
    answer = await broken.get("/broken/away")
    assert problem(answer) == (503, "service_unavailable")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(("status", "told"), [(404, 404), (413, 413), (415, 415), (400, 400), (418, 400), (503, 503),
                                              (500, 500), (507, 500)])  # fmt: skip
async def test_errors_of_libraries_become_problems_too(broken: AsyncClient, status, told):
    answer = await broken.get(f"/broken/http/{status}")
    assert problem(answer)[0] == told
    assert answer.headers["x-said"] == "yes"
    assert "library" not in answer.text


async def test_an_error_after_the_answer_began_does_not_end_it_well(broken: AsyncClient, capfd):
    with pytest.raises(AssertionError):  # the transport's own: no last piece was sent
        await broken.get("/broken/midway")
    written = capfd.readouterr().err
    assert "request_failed" in written
    assert "request_finished" in written


async def test_a_fault_outside_of_the_body_says_where(broken: AsyncClient):
    answer = await broken.get("/broken/http/abc")
    (fault,) = answer.json()["errors"]
    assert (fault["pointer"], fault["code"]) == ("/path/status", "int_parsing")
    assert "abc" not in fault["detail"]


async def test_the_client_is_the_one_behind_our_proxy(broken: AsyncClient, monkeypatch):
    headers = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "198.51.100.7, 127.0.0.2")]
    assert (await broken.get("/broken/client", headers=headers)).json()[0] == "127.0.0.1"
    monkeypatch.setitem(settings.__dict__, "proxies", (ip_network("127.0.0.0/8"),))
    _trusted.cache_clear()
    try:
        assert (await broken.get("/broken/client", headers=headers)).json() == ["198.51.100.7", 0]
    finally:
        _trusted.cache_clear()


async def test_a_body_that_does_not_arrive_is_408_and_the_connection_is_closed(broken: AsyncClient, monkeypatch):
    monkeypatch.setattr(exchange, "BODY_TIMEOUT", 0.05)

    async def stuck():
        yield b"{"
        await asyncio.Event().wait()

    answer = await broken.post(f"{V1}/auth/login", content=stuck(), headers={"content-type": "application/json"})
    assert problem(answer) == (408, "request_timeout")
    assert answer.headers["connection"] == "close"


# --- other origins --------------------------------------------------------------------------------------------------


async def test_an_allowed_origin_may_read_the_answer(client: AsyncClient):
    headers = (await client.get(f"{V1}/health", headers={"origin": ORIGIN})).headers
    assert headers["access-control-allow-origin"] == ORIGIN
    assert headers["access-control-allow-credentials"] == "true"
    assert "X-Request-ID" in headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", ["https://evil.example", f"{ORIGIN}.evil", "null", "*", ORIGIN.upper()])
async def test_another_origin_may_not(client: AsyncClient, origin):
    answer = await client.get(f"{V1}/health", headers={"origin": origin})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.headers["vary"] == "Origin"


async def test_a_preflight_names_what_is_allowed(client: AsyncClient):
    headers = {**PREFLIGHT, "access-control-request-headers": "content-type, Authorization,x-request-id"}
    answer = await client.options(f"{V1}/auth/login", headers=headers)
    assert answer.status_code == 204
    assert answer.headers.get_list("access-control-allow-origin") == [ORIGIN]
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "Authorization" in answer.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"access-control-request-method": "BREW"},
        {"access-control-request-headers": "x-evil"},
    ],
)
async def test_a_preflight_that_asks_for_more_is_refused_as_a_problem(client: AsyncClient, headers):
    answer = await client.options(f"{V1}/auth/login", headers={**PREFLIGHT, **headers})
    assert problem(answer) == (403, "cross_origin_refused")
