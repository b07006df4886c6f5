"""A load generator in one process: so many connections, each with one request under way.

python -m bench.load PORT PATH CONNECTIONS SECONDS   prints requests/s, p50 and p99 in ms, failures

Access tokens come on standard input, a line each. Each request draws one by Zipf's law, the first the likeliest; with
SECONDS 0 each of them is used once, in turn, and then it ends.
"""

import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial

import uvloop

DRAWS = 100_000


class Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer is complete."""

    def __init__(self, requests: Iterator[bytes], until: float, spent: list[float]) -> None:
        self.requests, self.until, self.spent = requests, until, spent
        self.failures, self.buffer, self.sent = 0, b"", 0.0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is one in all but its class
        self.send()

    def send(self) -> None:
        request = next(self.requests, None)
        if request is None:
            self.transport.close()
            return
        self.sent = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if len(body) < length:
            return
        now = time.perf_counter()
        self.spent.append(now - self.sent)
        self.failures += not head.startswith(b"HTTP/1.1 200")
        self.buffer = b""
        if now < self.until:
            self.send()
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.failures += error is not None
        if not self.closed.done():
            self.closed.set_result(None)


def request_for(port: int, path: str, token: str = "") -> bytes:
    bearer = [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *bearer, "", ""]).encode()


def requests_for(port: int, path: str, tokens: Sequence[str], *, once: bool) -> Iterator[bytes]:
    if not tokens:
        return itertools.repeat(request_for(port, path))
    requests = [request_for(port, path, token) for token in tokens]
    if once:
        return iter(requests)
    weights = [1 / rank for rank in range(1, len(requests) + 1)]
    return itertools.cycle(random.Random(1).choices(requests, weights, k=DRAWS))


async def load(port: int, path: str, connections: int, seconds: float, tokens: Sequence[str]) -> dict[str, float]:
    loop, spent = asyncio.get_running_loop(), list[float]()
    requests = requests_for(port, path, tokens, once=not seconds)
    began = time.perf_counter()
    until = began + seconds if seconds else float("inf")
    made = [
        await loop.create_connection(partial(Connection, requests, until, spent), "127.0.0.1", port)
        for _ in range(connections)
    ]
    async with asyncio.timeout(seconds + 60):
        await asyncio.gather(*(one.closed for _, one in made))
    took = time.perf_counter() - began
    spent.sort()
    return {
        "rps": len(spent) / took,
        "p50_ms": spent[len(spent) // 2] * 1000,
        "p99_ms": spent[int(len(spent) * 0.99)] * 1000,
        "failures": sum(one.failures for _, one in made),
    }


if __name__ == "__main__":
    given = sys.stdin.read().split()
    print(json.dumps(uvloop.run(load(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), given))))
