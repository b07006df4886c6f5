"""A load generator in one process: so many connections, each with one request under way, for so many seconds.

python -m bench.load PORT PATH CONNECTIONS SECONDS [TOKEN …]   prints requests/s, p50 and p99 in ms, failures

Each connection has one of the tokens, in turn.
"""

import asyncio
import json
import sys
import time
from functools import partial

import uvloop


class Connection(asyncio.Protocol):
    """Sends the request again as soon as the answer is complete."""

    def __init__(self, request: bytes, until: float, spent: list[float]) -> None:
        self.request, self.until, self.spent = request, until, spent
        self.failures, self.buffer, self.sent = 0, b"", 0.0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is one in all but its class
        self.send()

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.request)

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


def request_for(port: int, path: str, token: str) -> bytes:
    bearer = [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *bearer, "", ""]).encode()


async def load(port: int, path: str, connections: int, seconds: float, tokens: list[str]) -> dict[str, float]:
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    spent: list[float] = []
    made = []
    for number in range(connections):
        request = request_for(port, path, tokens[number % len(tokens)] if tokens else "")
        made.append(
            await loop.create_connection(partial(Connection, request, began + seconds, spent), "127.0.0.1", port)
        )
    async with asyncio.timeout(seconds + 30):
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
    port, path, connections, seconds, *tokens = sys.argv[1:]
    print(json.dumps(uvloop.run(load(int(port), path, int(connections), float(seconds), tokens))))
