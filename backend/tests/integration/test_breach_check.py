"""Passwords of published breaches are refused where a service is asked, which learns five digits of a hash at most."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from httpx2 import AsyncClient, Response
from prometheus_client import REGISTRY

from app.core import breach
from app.core.config import settings
from tests.flows import PASSWORD, V1, Account, problem, signed_in

pytestmark = [pytest.mark.usefixtures("clean"), pytest.mark.any_database, pytest.mark.any_server]
DIGEST = hashlib.sha1(PASSWORD.encode()).hexdigest().upper()
OTHERS = "\r\n".join(f"{number:035X}:{number}" for number in range(800))
FOUND = f"{OTHERS}\r\n{DIGEST[5:]}:3\r\n"
PADDED = f"{OTHERS}\r\n{DIGEST[5:]}:0\r\n"


@dataclass
class Service:
    """A range service, and what it was asked."""

    reply: bytes = b""
    then: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None
    asked: list[str] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(self.reply)
            await writer.drain()
            if self.then:
                await self.then(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def range_service(
    monkeypatch: pytest.MonkeyPatch, reply: bytes, then: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None
) -> AsyncIterator[Service]:
    service = Service(reply, then)
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{service.port}/range/"
    monkeypatch.setattr(breach, "settings", settings.model_copy(update={"breach_check_url": url}))
    try:
        yield service
    finally:
        server.close()


def http(body: str, status: str = "200 OK", *headers: str) -> bytes:
    head = [
        f"HTTP/1.1 {status}",
        "Content-Type: text/plain",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    ]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


def unanswered() -> float:
    return REGISTRY.get_sample_value("breach_checks_total", {"outcome": "unanswered"}) or 0


async def register(client: AsyncClient) -> Response:
    return await Account(client).register()


async def test_a_breached_password_is_refused_and_only_five_digits_were_told(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with range_service(monkeypatch, http(FOUND)) as service:
        refused = await register(client)
    assert problem(refused) == (422, "validation_failed")
    (fault,) = refused.json()["errors"]
    assert (fault["pointer"], fault["code"]) == ("/password", "password_too_weak")
    (asked,) = service.asked
    assert asked.startswith(f"GET /range/{DIGEST[:5]} HTTP/1.1\r\n")
    assert "add-padding: true" in asked.lower()
    assert DIGEST[5:10] not in asked
    assert PASSWORD not in asked


async def test_a_new_password_is_looked_up_too(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    account = await signed_in(client)
    new = "another-otter-77-candle"
    digest = hashlib.sha1(new.encode()).hexdigest().upper()
    async with range_service(monkeypatch, http(f"{digest[5:].lower()}:12")):
        given = {"current_password": account.password, "new_password": new}
        refused = await client.post(f"{V1}/users/me/password", json=given, headers=account.bearer)
    assert problem(refused) == (422, "validation_failed")
    assert refused.json()["errors"][0]["pointer"] == "/new_password"


@pytest.mark.parametrize("body", [OTHERS, PADDED, ""], ids=["others", "padding", "empty"])
async def test_a_password_that_is_not_known_passes(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    before = unanswered()
    async with range_service(monkeypatch, http(body)) as service:
        assert (await register(client)).status_code == 201
    assert len(service.asked) == 1
    assert unanswered() == before


async def hang(_writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)  # a service that does not answer


async def drip(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"0")
        await writer.drain()
        await asyncio.sleep(0.2)  # a service that answers drop by drop


async def pour(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(f"{OTHERS}\r\n".encode())
        await writer.drain()


ENDLESS = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "then"),
    [
        (http(FOUND, "500 Internal Server Error"), None),
        (http(FOUND, "429 Too Many Requests"), None),
        (http("", "302 Found", "Location: http://127.0.0.1:1/range/00000"), None),
        (http("<html>welcome</html>"), None),
        (http(f"{FOUND}not a line\r\n"), None),
        (b"\x00\xff\xfe" * 100, None),
        (b"", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nshort", None),
        (b"", hang),
        (ENDLESS, hang),
        (ENDLESS, drip),
        (ENDLESS, pour),
    ],
    ids=[
        "500", "429", "redirect", "page", "garbage-line", "not-http", "closed", "cut-off", "silent", "half", "slow",
        "endless",
    ],
)  # fmt: skip
async def test_without_a_usable_answer_in_time_the_password_passes(
    client: AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    reply: bytes,
    then: Callable[[asyncio.StreamWriter], Awaitable[None]] | None,
) -> None:
    before, began = unanswered(), asyncio.get_running_loop().time()
    async with range_service(monkeypatch, reply, then) as service:
        assert (await register(client)).status_code == 201
        assert asyncio.get_running_loop().time() - began < 5, "a second, and what a busy machine adds"
    assert len(service.asked) == 1, "it is asked once, and no redirect is followed"
    assert unanswered() == before + 1


async def test_a_service_that_is_away_keeps_nobody_out(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async with range_service(monkeypatch, b"") as service:
        pass
    before = unanswered()
    assert (await register(client)).status_code == 201
    assert service.asked == []
    assert unanswered() == before + 1


async def test_a_service_that_hangs_holds_a_few_threads_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async with range_service(monkeypatch, b"", hang) as service:
        began = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(breach.is_breached(f"password {number}") for number in range(50)))
        assert asyncio.get_running_loop().time() - began < 5
    assert not any(answers)
    assert len(service.asked) <= breach.MOST_AT_ONCE


async def test_nobody_is_asked_where_no_service_is_named(client: AsyncClient) -> None:
    assert not settings.breach_check_url
    before = REGISTRY.get_sample_value("breach_checks_total", {"outcome": "unknown"})
    assert (await register(client)).status_code == 201
    assert REGISTRY.get_sample_value("breach_checks_total", {"outcome": "unknown"}) == before
