"""What arrives on a connection, byte by byte: heads without end, targets of other hosts, and what is hardly HTTP."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from app.api.protocol import MAX_HEAD, MAX_HEADERS
from tests.flows import V1
from tests.services import Services
from tests.stack import Server

pytestmark = [pytest.mark.any_database, pytest.mark.any_server]

HEALTH = f"GET {V1}/health HTTP/1.1\r\nHost: localhost\r\n".encode()
POST = f"POST {V1}/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
END, CLOSE = b"\r\n", b"Connection: close\r\n"
TOO_LARGE, BAD, UNKNOWN_HOST = (431, "head_too_large"), (400, "bad_request"), (400, "unknown_host")


@pytest.fixture(scope="module")
async def one_server(services: Services) -> AsyncIterator[str]:
    """The URL of one server for all tests here."""
    running = await Server(services, (), {}).ready()
    yield running.url
    assert running.stop() == 0


async def send(url: str, *pieces: bytes) -> bytes:
    """All that the server says to these pieces until it closes. It is sent no more once it has."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    said = asyncio.create_task(reader.read())
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if said.done():
                break
        return await asyncio.wait_for(said, 20)
    except ConnectionError:  # it closed while more was sent: what it said before that counts
        return await said
    finally:
        writer.close()


def answers(said: bytes) -> list[tuple[int, str]]:
    """Status and code (empty where it is no problem) of each answer, which must have what every answer of ours has."""
    found = []
    while said:
        head, _, rest = said.partition(b"\r\n\r\n")
        for needed in (b"x-request-id: ", b"x-content-type-options: nosniff", b"content-security-policy: "):
            assert needed in head, said[:500]
        length = int(re.findall(rb"content-length: (\d+)", head)[0])
        body, said = json.loads(rest[:length]), rest[length:]
        is_problem = b"content-type: application/problem+json" in head
        found.append((int(head.split()[1]), body["code"] if is_problem else ""))
    return found


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"GET /?" + b"q" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"], id="query"),
        pytest.param([b"GET /", *[b"q" * 65536] * 640], id="target without end"),
        pytest.param([HEALTH, b"X: ", *[b"x" * 65536] * 640], id="header of 40 MiB"),
        pytest.param([HEALTH, *[b"X: y\r\n" * 1000] * 500], id="500,000 headers"),
        pytest.param([HEALTH, b"X: y\r\n" * MAX_HEADERS, END], id="one header too many"),
        pytest.param([HEALTH, *[b"X%d: " % n + b"x" * 9000 + END for n in range(8)], END], id="8 headers of 9 kB"),
        pytest.param([HEALTH + b"X: " + b"x" * MAX_HEAD + END + END], id="in one piece"),
    ],
)
async def test_a_head_that_is_too_large_is_refused_while_it_arrives(one_server: str, pieces: list[bytes]) -> None:
    assert answers(await send(one_server, *pieces)) == [TOO_LARGE]


async def test_a_head_within_the_bounds_is_read(one_server: str) -> None:
    headers = b"".join(b"X-%d: " % n + b"x" * 600 + END for n in range(MAX_HEADERS - 2))
    assert answers(await send(one_server, HEALTH + CLOSE + headers + END)) == [(200, "")]
    assert answers(await send(one_server, HEALTH, CLOSE, headers[:9000], headers[9000:], END)) == [(200, "")]


async def test_a_body_and_the_next_request_do_not_count_as_a_head(one_server: str) -> None:
    body, last = b" " * 500_000, HEALTH + CLOSE + END
    first = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    said = await send(one_server, first + last[:20], last[20:])
    assert answers(said) == [(422, "validation_failed"), (200, "")]


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [
        ("http://evil.example{}", "127.0.0.1", UNKNOWN_HOST),
        ("http://evil.example?x={}", "127.0.0.1", BAD),
        ("http://127.0.0.1@evil.example{}", "127.0.0.1", UNKNOWN_HOST),
        ("http://evil.example:80{}", "127.0.0.1", UNKNOWN_HOST),
        ("http://localhost{}", "evil.example", (200, "")),
        ("http://[::1]:8000{}", "evil.example", (200, "")),
        ("HTTP://LOCALHOST{}", "localhost", (200, "")),
        ("{}?next=http://evil.example/", "localhost", (200, "")),
    ],
)
async def test_the_authority_of_the_target_is_the_host(
    one_server: str, target: str, host: str, expected: tuple[int, str]
) -> None:
    line = f"GET {target.format(f'{V1}/health')} HTTP/1.1\r\nHost: {host}\r\n".encode()
    assert answers(await send(one_server, line + CLOSE + END)) == [expected]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"FOO / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_hardly_http_gets_a_problem(one_server: str, request_bytes: bytes) -> None:
    assert answers(await send(one_server, request_bytes)) == [BAD]


async def test_a_refusal_keeps_the_request_id(one_server: str) -> None:
    said = await send(one_server, b"GET /a?b HTTP/1.1\r\nX-Request-ID: mine\r\nX: y\r\nbroken\r\n\r\n")
    assert b"x-request-id: mine\r\n" in said
    assert b'"instance":"/a"' in said


async def test_requests_before_the_broken_one_are_answered_first(one_server: str) -> None:
    good = HEALTH + END
    said = await send(one_server, good + good + b"FOO / HTTP/1.1\r\n\r\n" + good)
    assert answers(said) == [(200, ""), (200, ""), BAD]


async def test_a_body_that_breaks_is_refused(one_server: str) -> None:
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    assert answers(await send(one_server, chunked + b"5\r\n{    \r\n", b"no length\r\n")) == [BAD]
    assert answers(await send(one_server, HEALTH + END + chunked + b"no length\r\n")) == [(200, ""), BAD]
