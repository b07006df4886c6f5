"""Reading event streams as a client does, each over a connection of its own, and a server in this process."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import UUID

import uvicorn
from fastapi import FastAPI

from app.api import streams
from app.api.protocol import Protocol
from tests.flows import V1
from tests.waiting import eventually


@dataclass(frozen=True)
class Event:
    id: str
    task: dict[str, Any]
    at: float
    """When it arrived, by `time.monotonic`."""


@dataclass
class Listener:
    """One stream."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pings: int = 0
    body: bytes = b""
    """Of an answer that is no stream."""
    _left: bytes = b""

    @classmethod
    async def open(
        cls, url: str, task_id: UUID | str, bearer: dict[str, str], *, seen: str | None = None, buffer: int = 0
    ) -> Self:
        """Ask for the stream and read the head of the answer. `buffer`: bytes that the system takes in unread."""
        parts = urlsplit(url)
        raw = socket.socket()
        raw.setblocking(False)
        if buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        await asyncio.get_running_loop().sock_connect(raw, (parts.hostname, parts.port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=buffer or 2**16)
        sent = {"Host": "localhost", **bearer, **({} if seen is None else {"Last-Event-ID": seen})}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        writer.write(f"GET {V1}/tasks/{task_id}/events HTTP/1.1\r\n{head}\r\n".encode())
        self = cls(reader, writer)
        self.status = int((await reader.readline()).split()[1])
        while (line := await reader.readline()).strip():
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()
        if self.status != 200:
            self.body = await reader.readexactly(int(self.headers.get("content-length", "0")))
            self.drop()
        return self

    async def next(self, within: float = 30) -> Event | None:
        """The next event; None where the stream has ended."""
        async with asyncio.timeout(within):
            while True:
                text, found, left = self._left.partition(b"\n\n")
                if found:
                    self._left = left
                    if text.startswith(b":"):
                        self.pings += 1
                        continue
                    number, data = text.decode().splitlines()
                    task = json.loads(data.removeprefix("data: "))
                    return Event(number.removeprefix("id: "), task, time.monotonic())
                chunk = await self._chunk()
                if not chunk:
                    self.drop()
                    return None
                self._left += chunk

    async def _chunk(self) -> bytes:
        try:
            size = int(await self.reader.readline() or b"0", 16)
            return (await self.reader.readexactly(size + 2))[:-2] if size else b""
        except (ConnectionError, asyncio.IncompleteReadError):
            return b""

    def problem(self) -> tuple[int, str]:
        """Status and code of a refusal."""
        return self.status, json.loads(self.body)["code"]

    def drop(self) -> None:
        """Go without a word, as a phone in a tunnel does when its system gives up."""
        self.writer.transport.abort()


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """`app` behind the real protocol in this process, whose state a test may look at; its URL."""

    class Quiet(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # they are the test run's

    with socket.create_server(("127.0.0.1", 0)) as sock:
        server = Quiet(uvicorn.Config(app, http=Protocol, lifespan="off", log_config=None, timeout_graceful_shutdown=5))
        running = asyncio.create_task(server.serve(sockets=[sock]))
        await eventually(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running
            streams.start()  # a server that ends lets no stream be opened in its process any more; this one goes on


class Relay:
    """Stands before a server on this machine, and passes bytes on while it flows."""

    def __init__(self, host: str, port: int) -> None:
        self._to, self._open, self._ends = (host, port), set[asyncio.Task[None]](), list[asyncio.StreamWriter]()
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.flowing.set()
        self._server.close()
        while passing := [task for task in self._open if not task.done()]:  # one may have come in only just now
            for end in self._ends:
                end.transport.abort()
            await asyncio.wait(passing, timeout=0.1)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(asyncio.current_task())  # type: ignore[arg-type] # a handler runs in a task
        back, forth = await asyncio.open_connection(*self._to)
        self._ends += (writer, forth)
        await asyncio.gather(self._pump(reader, forth), self._pump(back, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                await self.flowing.wait()
                writer.write(data)
        writer.close()
