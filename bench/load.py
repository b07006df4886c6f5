"""A load generator in one process: so many connections, each with one request under way.

python -m bench.load PORT PATH CONNECTIONS SECONDS [KIND]   prints requests/s, p50 and p99 in ms, failures

What a request needs comes on standard input, a line each. KIND is one of

get       (the default) an access token. Each request draws one by Zipf's law, the first the likeliest; with SECONDS 0
          each of them is used once, in turn, and then it ends.
refresh   a refresh token, one for each connection, which goes on with the one that it is answered.
swap      a number, one for each connection: the row whose generation it turns.
post      a JSON body, used in turn.
renew     an access token, sent with an empty POST, used in turn.
"""

import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import uvloop

DRAWS = 100_000
Ask = Callable[[bytes], bytes | None]
"""The next request, from the body of the answer before; None at the end."""


class Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer is complete."""

    def __init__(self, ask: Ask, until: float, spent: list[float]) -> None:
        self.ask, self.until, self.spent = ask, until, spent
        self.failures, self.buffer, self.sent = 0, b"", 0.0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is one in all but its class
        self.send(b"")

    def send(self, answer: bytes) -> None:
        request = self.ask(answer)
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
        failed = not head.startswith(b"HTTP/1.1 2")
        self.failures += failed
        self.buffer = b""
        if now < self.until:
            self.send(b"" if failed else body)
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.failures += error is not None
        if not self.closed.done():
            self.closed.set_result(None)


def request_for(port: int, path: str, token: str = "") -> bytes:
    bearer = [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *bearer, "", ""]).encode()


def post_for(port: int, path: str, body: str, token: str = "") -> bytes:
    said = [f"Host: 127.0.0.1:{port}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    said += [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([f"POST {path} HTTP/1.1", *said, "", body]).encode()


def asking(kind: str, port: int, path: str, given: Sequence[str], *, once: bool) -> Iterator[Ask]:
    """For each connection, what makes its next request from the answer to the one before."""
    if kind == "get":
        requests = requests_for(port, path, given, once=once)
        yield from itertools.repeat(lambda _: next(requests, None))
    elif kind == "renew":
        tokens = itertools.cycle(given)
        yield from itertools.repeat(lambda _: post_for(port, path, "", next(tokens)))
    elif kind == "post":
        bodies = itertools.cycle(given)
        yield from itertools.repeat(lambda _: post_for(port, path, next(bodies)))
    for start in given:
        yield turning(partial(post_for, port, path), kind, start)


def turning(request: Callable[[str], bytes], kind: str, start: str) -> Ask:
    state = {"refresh_token": start} if kind == "refresh" else {"id": int(start), "generation": 1}

    def ask(answer: bytes) -> bytes:
        if answer:
            said = json.loads(answer)
            state.update({name: said[name] for name in state})
        return request(json.dumps(state))

    return ask


def requests_for(port: int, path: str, tokens: Sequence[str], *, once: bool) -> Iterator[bytes]:
    if not tokens:
        return itertools.repeat(request_for(port, path))
    requests = [request_for(port, path, token) for token in tokens]
    if once:
        return iter(requests)
    weights = [1 / rank for rank in range(1, len(requests) + 1)]
    return itertools.cycle(random.Random(1).choices(requests, weights, k=DRAWS))


async def load(
    port: int, path: str, connections: int, seconds: float, given: Sequence[str], kind: str = "get"
) -> dict[str, float]:
    loop, spent = asyncio.get_running_loop(), list[float]()
    asks = asking(kind, port, path, given, once=not seconds)
    began = time.perf_counter()
    until = began + seconds if seconds else float("inf")
    made = [
        await loop.create_connection(partial(Connection, next(asks), until, spent), "127.0.0.1", port)
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
    lines = sys.stdin.read().splitlines()
    port, path, connections, seconds, *kind = sys.argv[1:]
    print(json.dumps(uvloop.run(load(int(port), path, int(connections), float(seconds), lines, *kind))))
