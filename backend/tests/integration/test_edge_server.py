"""The edge as a real server runs it: bytes on a socket, several processes, parts that are away, production."""

import asyncio
import json
import secrets
import socket
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from httpx2 import AsyncClient
from prometheus_client.parser import text_string_to_metric_families

from tests.flows import V1, problem
from tests.processes import free_port
from tests.stack import Server
from tests.waiting import eventually

pytestmark = pytest.mark.any_server

MIB = 2**20
PUBLIC = "https://api.example.com"
TOKEN = secrets.token_urlsafe(24)
PRODUCTION = {
    "ENVIRONMENT": "production",
    "ALLOW_SQLITE_IN_PRODUCTION": "true",
    "PUBLIC_URL": PUBLIC,
    "MAIL_FROM": "service@example.com",
    "SMTP_URL": "smtp://127.0.0.1:1",
    "ALLOWED_HOSTS": "127.0.0.1",
}
AT_PUBLIC = {"host": "api.example.com"}


@pytest.fixture(scope="module")
async def one_server(services):
    """The URL of one server for all tests that leave nothing behind."""
    running = await Server(services, (), {}).ready()
    yield running.url
    assert running.stop() == 0


async def exchange(url: str, *pieces: bytes, within: float = 20) -> bytes:
    """Send these bytes, however odd, and read until the server has answered or closed."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    answer = bytearray()

    async def read() -> None:
        while chunk := await reader.read(65536):
            answer.extend(chunk)
            head, found, body = bytes(answer).partition(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            if found and length and len(body) >= int(length):
                return

    reading = asyncio.create_task(read())
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
    except ConnectionError:  # it has answered and closed: what it said is read below
        pass
    await asyncio.wait_for(reading, within)
    writer.close()
    return bytes(answer)


def told(answer: bytes) -> tuple[int, str]:
    """Status and problem code."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head, answer[:500]
    return int(head.split()[1]), json.loads(body)["code"]


def post(headers: str, host: str = "localhost", path: str = f"{V1}/auth/login") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{headers}\r\n".encode()


async def test_bodies_of_50_mib_are_refused_and_the_server_goes_on(server):
    url = (await server()).url
    chunk = b"100000\r\n" + b" " * MIB + b"\r\n"
    chunked = await exchange(url, post("Transfer-Encoding: chunked\r\n"), *[chunk] * 50, b"0\r\n\r\n")
    assert told(chunked) == (413, "payload_too_large")
    measured = await exchange(url, post(f"Content-Length: {50 * MIB}\r\n"), *[b" " * MIB] * 50)
    assert told(measured) == (413, "payload_too_large")
    never_sent = await exchange(url, post(f"Content-Length: {50 * MIB}\r\nExpect: 100-continue\r\n"))
    assert told(never_sent) == (413, "payload_too_large")
    async with AsyncClient(base_url=url, trust_env=False) as client:
        assert (await client.get(f"{V1}/health")).status_code == 200
        nested = await client.post(
            f"{V1}/auth/login", content=b"[" * 100_000, headers={"content-type": "application/json"}
        )
        assert problem(nested) == (422, "validation_failed")


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"GET /api/v1/health HTTP/1.1\r\n\r\n", (400, "unknown_host")),
        (b"GET /api/v1/health HTTP/1.0\r\n\r\n", (400, "unknown_host")),
        (b"GET /api/v1/health HTTP/1.1\r\nHost: evil\r\n\r\n", (400, "unknown_host")),
        (b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", (400, "unknown_host")),
        (b"GET /api/v1/health HTTP/1.1\r\nHost: localhost:a\r\n\r\n", (400, "unknown_host")),
        (b"GET /api/v1/health HTTP/1.1\r\nHost: [::1\r\n\r\n", (400, "unknown_host")),
        (b"GET /api/v1/health HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n", (400, "unknown_host")),
        (b"GET http://evil/api/v1/health HTTP/1.1\r\nHost: evil\r\n\r\n", (400, "unknown_host")),
        (b"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", (404, "not_found")),
        (b"GET /%ff%zz%ed%a0%80%% HTTP/1.1\r\nHost: localhost\r\n\r\n", (404, "not_found")),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", (404, "not_found")),
        (b"GET /api/v1/health/ HTTP/1.1\r\nHost: localhost\r\n\r\n", (404, "not_found")),
        (b"GET /api/v1/health?x=%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", (422, "validation_failed")),
    ],
)
async def test_odd_requests_get_a_problem(one_server, request_bytes, expected):
    assert told(await exchange(one_server, request_bytes)) == expected


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET //evil.example/%2e%2e HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\x80\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_hardly_http_gets_a_4xx_or_nothing(one_server, request_bytes):
    parts = urlsplit(one_server)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as raw:
        raw.sendall(request_bytes)
        raw.shutdown(socket.SHUT_WR)
        answer = await asyncio.to_thread(raw.recv, 65536)
    assert not answer or answer.split()[1].startswith(b"4"), answer[:200]


async def test_ready_says_what_is_away_within_its_time_limit(server, services):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts and never answers
        port = silent.getsockname()[1]
        url = (await server(
            DATABASE_URL=f"postgresql://u:p@127.0.0.1:{port}/x", REDIS_URL=f"redis://127.0.0.1:{free_port()}/0"
        )).url  # fmt: skip
        async with AsyncClient(base_url=url, trust_env=False, timeout=10) as client:
            assert (await client.get(f"{V1}/health")).status_code == 200
            answer = await client.get(f"{V1}/health/ready")
            body = answer.json()
            assert (answer.status_code, body["status"]) == (503, "unhealthy")
            assert int(answer.headers["retry-after"]) > 0
            states = {part: check["status"] for part, check in body["checks"].items()}
            assert states == {
                "database": "unhealthy",
                "redis": "degraded",
                "worker": "degraded",
                "migrations": "unhealthy",
                "config": "degraded",
            }
            assert max(check["latency_ms"] for check in body["checks"].values()) < 2500
            login = {"email": "nobody@example.com", "password": "plum-otter-42-lantern"}
            assert problem(await client.post(f"{V1}/auth/login", json=login)) == (503, "service_unavailable")


async def test_metrics_of_several_processes_are_added_up(server):
    url = (await server("--workers", "2")).url

    client = AsyncClient(base_url=url, trust_env=False, headers={"connection": "close"})  # so that both answer

    async def count() -> float:
        text = (await client.get(f"{V1}/metrics")).text
        families = {family.name: family.samples for family in text_string_to_metric_families(text)}
        labels = {"method": "GET", "endpoint": f"{V1}/config"}
        return sum(sample.value for sample in families.get("http_requests", ()) if sample.labels == labels)

    before = await count()
    for _ in range(40):
        assert (await client.get(f"{V1}/config")).status_code == 200

    async def complete() -> bool:
        return await count() == before + 40

    await eventually(complete, within=5)
    await client.aclose()


async def test_production_is_closed(server):
    url = (await server(**PRODUCTION)).url
    async with AsyncClient(base_url=url, trust_env=False, headers=AT_PUBLIC) as client:
        answer = await client.get(f"{V1}/health")
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"] == "max-age=63072000; includeSubDomains"
        assert "server" not in answer.headers
        for path in ("/docs", "/redoc", "/openapi.json", "/docs/swagger-ui.css", "/dev/mailbox"):
            assert problem(await client.get(path)) == (404, "not_found")
        assert (await client.get("/problems/email_taken")).status_code == 200
        assert problem(await client.get(f"{V1}/health", headers={"host": "localhost"})) == (400, "unknown_host")
        assert (await client.get(f"{V1}/metrics")).status_code == 200  # straight from this machine
        for name in ("x-forwarded-for", "forwarded", "via", "x-real-ip"):
            assert problem(await client.get(f"{V1}/metrics", headers={name: "198.51.100.7"})) == (404, "not_found")


async def test_metrics_in_production_take_the_token_where_there_is_one(server):
    url = (await server(**PRODUCTION, METRICS_TOKEN=TOKEN, DOCS_ENABLED="true")).url
    async with AsyncClient(base_url=url, trust_env=False, headers=AT_PUBLIC) as client:
        missing = await client.get(f"{V1}/metrics")
        wrong = await client.get(f"{V1}/metrics", headers={"authorization": f"Bearer {TOKEN}x"})
        right = await client.get(f"{V1}/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        docs = await client.get("/docs")
    assert problem(missing) == (401, "not_authenticated")
    assert problem(wrong) == (401, "invalid_access_token")
    assert 'error="invalid_token"' in wrong.headers["www-authenticate"]
    assert (right.status_code, docs.status_code) == (200, 200)


async def test_a_server_that_is_told_to_stop_says_so_first_and_answers_meanwhile(server):
    running = await server(DRAIN_SECONDS="60")
    async with AsyncClient(base_url=running.url, trust_env=False) as client:
        running.process.terminate()

        async def not_ready() -> bool:
            answer = await client.get(f"{V1}/health/ready")
            return answer.status_code == 503 and answer.json()["checks"]["database"]["status"] == "healthy"

        await eventually(not_ready)
        assert (await client.get(f"{V1}/config")).status_code == 200
    assert running.stop() == 0  # a second SIGTERM does not wait


async def test_several_processes_that_stop_take_no_new_connections(server):
    running = await server("--workers", "2")
    parts = urlsplit(running.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(post("Content-Length: 2\r\nExpect: 100-continue\r\n"))  # open, since its body does not come
    assert (await reader.readline()).split()[1] == b"100"
    running.process.terminate()

    async def refused() -> bool:
        try:
            _, other = await asyncio.open_connection(parts.hostname, parts.port)
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # it stopped listening while this one was on its way
            return False
        other.close()
        return False

    with closing(writer):
        await eventually(refused, within=10)
        assert running.process.poll() is None, "it is still busy with the open request"
        writer.write(b"{}")
        assert b" 422 " in await reader.read()
    assert running.process.wait(20) == 0
