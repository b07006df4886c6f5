"""A bad way to a server: a TCP proxy before PostgreSQL, Redis or SMTP whose manners a test changes while it is used.

It lives in a thread with an event loop of its own, so that it carries on while a test waits for a process.
"""

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

from tests.processes import free_port

T = TypeVar("T")
PORTS = {"postgresql": 5432, "redis": 6379, "smtp": 25}
ANY = re.compile(rb"(?s).")
COMMIT = re.compile(rb"(?is)Q\0\0\0.COMMIT;?\0|P\0\0.{2}[^\0]*\0COMMIT;?\0")
"""A client's COMMIT to PostgreSQL: as a simple query, which is what asyncpg sends, or prepared."""
END_OF_DATA = re.compile(rb"\r\n\.\r\n")
"""The end of a message that is handed to an SMTP server."""
AT_ONCE = struct.pack("ii", 1, 0)  # lingering on, for 0 s: closing sends RST in place of FIN
LONGEST = 64  # bytes of what is looked for, which may come in two pieces


@dataclass(frozen=True)
class Manners:
    """How it treats what it carries."""

    delay: float = 0.0
    """Seconds that each piece waits, either way."""
    reset_after: int | None = None
    """Bytes of answers on a connection."""
    cut_at: re.Pattern[bytes] | None = None
    """What a client sends, and gets no answer to."""
    after: re.Pattern[bytes] = ANY
    """Only once this was sent on the same connection, before or with it."""
    each: int = 1
    """Of what matches, each so-manieth."""
    arrives: bool = True
    """Whether it gets through itself."""


class Cut(Exception):
    """The connection ends here."""


class Link:
    """One connection: a client, and the server that it meant."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.ends = [client]
        self.last_sent = b""
        self.answered = 0
        self.armed = False
        self.unanswered = False

    def reset(self) -> None:
        """End it at once, and have both sides told of a reset."""
        for end in self.ends:
            with suppress(OSError):  # it may have gone by itself
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            end.transport.abort()


class Proxy:
    """Listens while the block runs. `url` leads through it to the server that was meant."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._port = free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], Link] = {}
        self._carries = asyncio.Event()
        self._manners = Manners()
        self._matches = 0
        self.cuts = 0
        """Connections that were cut because of `reset_after`, `drop_reply` or `drop_request`."""

    @property
    def url(self) -> str:
        secret, at, _ = self._target.netloc.rpartition("@")
        return urlunsplit(self._target._replace(netloc=f"{secret}{at}127.0.0.1:{self._port}"))

    def __enter__(self) -> Self:
        self._thread.start()
        self.restore()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- its manners: each call ends the one before ---

    def restore(self) -> None:
        """Carry everything."""
        self._behave(Manners())

    def delay(self, seconds: float) -> None:
        """Let each piece wait, either way."""
        self._behave(Manners(delay=seconds))

    def reset_after(self, size: int) -> None:
        """Reset each connection after so many bytes of answers, counted from now on."""
        self._behave(Manners(reset_after=size))

    def drop_reply(self, to: re.Pattern[bytes] = ANY, *, after: re.Pattern[bytes] = ANY, each: int = 1) -> None:
        """Let what a client sends go through, swallow the answer, and cut the connection."""
        self._behave(Manners(cut_at=to, after=after, each=each))

    def drop_request(self, what: re.Pattern[bytes] = ANY, *, after: re.Pattern[bytes] = ANY, each: int = 1) -> None:
        """Cut the connection before what a client sends goes through."""
        self._behave(Manners(cut_at=what, after=after, each=each, arrives=False))

    def blackhole(self) -> None:
        """Take connections and bytes, those of open connections too, and pass none on until the way changes."""
        self._call(self._hold)

    def refuse(self) -> None:
        """Listen no more, and end every connection."""
        self._run(self._close())

    # --- inside its thread ---

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _call(self, work: Callable[[], None]) -> None:
        async def call() -> None:
            work()

        self._run(call())

    def _behave(self, manners: Manners) -> None:
        self._run(self._listen(manners))

    async def _listen(self, manners: Manners) -> None:
        self._manners, self._matches = manners, 0
        for link in self._open.values():
            link.answered, link.armed = 0, False
        self._carries.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)

    def _hold(self) -> None:
        self._carries.clear()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task, link in list(self._open.items()):
            task.cancel()
            for end in link.ends:
                end.transport.abort()  # what is still to be written does not hold it open
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError):  # by `refuse`: asyncio would write it into the log
            await self._link(client, to_client)

    async def _link(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task, link = asyncio.current_task(), Link(to_client)
        assert task is not None
        self._open[task] = link
        try:
            await self._carries.wait()
            port = self._target.port or PORTS[self._target.scheme]
            server, to_server = await asyncio.open_connection(self._target.hostname, port)
            link.ends.append(to_server)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry_requests(client, to_server, link))
                both.create_task(self._carry_answers(server, to_client, link))
        except* Cut:
            self.cuts += 1
            link.reset()
        except* OSError:
            pass  # one side has ended, or the server is away
        finally:
            del self._open[task]
            for end in link.ends:
                end.close()

    async def _carry_requests(self, client: asyncio.StreamReader, server: asyncio.StreamWriter, link: Link) -> None:
        while piece := await client.read(65_536):
            await self._travel()
            if self._cuts_at(link, piece):
                if not self._manners.arrives:
                    raise Cut
                link.unanswered = True
            server.write(piece)
            await server.drain()
        await self._carries.wait()
        raise ConnectionResetError  # one side ended: so does the other

    async def _carry_answers(self, server: asyncio.StreamReader, client: asyncio.StreamWriter, link: Link) -> None:
        while piece := await server.read(65_536):
            await self._travel()
            if link.unanswered:
                raise Cut
            most = self._manners.reset_after
            room = len(piece) if most is None else max(0, most - link.answered)
            link.answered += len(piece)
            client.write(piece[:room])
            await client.drain()
            if room < len(piece):
                raise Cut
        await self._carries.wait()
        raise ConnectionResetError

    async def _travel(self) -> None:
        if self._manners.delay:
            await asyncio.sleep(self._manners.delay)  # the delay that a test has asked for
        await self._carries.wait()

    def _cuts_at(self, link: Link, piece: bytes) -> bool:
        sought = self._manners.cut_at
        if sought is None:
            return False
        seen, link.last_sent = link.last_sent, piece[-LONGEST:]
        link.armed = link.armed or bool(self._manners.after.search(seen + piece))
        found = link.armed and any(match.end() > len(seen) for match in sought.finditer(seen + piece))
        self._matches += found
        return found and self._matches % self._manners.each == 0
