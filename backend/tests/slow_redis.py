"""A way to Redis that a test can make slow, or cut."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit


class Way:
    """A TCP proxy before a Redis. `url` leads through it."""

    def __init__(self, redis_url: str) -> None:
        self._target = urlsplit(redis_url)
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0
        self.delay = 0.0
        """Seconds that each piece of an answer waits."""

    @property
    def url(self) -> str:
        secret, at, _ = self._target.netloc.rpartition("@")
        return urlunsplit(self._target._replace(netloc=f"{secret}{at}127.0.0.1:{self._port}"))

    async def open(self) -> "Way":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def cut(self) -> None:
        """Nobody listens any more, and every connection ends."""
        assert self._server is not None
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        writers = [to_client]
        try:
            server, to_server = await asyncio.open_connection(self._target.hostname, self._target.port or 6379)
            writers.append(to_server)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(client, to_server, slow=False))
                both.create_task(self._pump(server, to_client, slow=True))
        except* OSError:
            pass
        finally:
            self._open.discard(task)
            for writer in writers:
                with suppress(OSError):
                    writer.close()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, slow: bool) -> None:
        while piece := await source.read(65_536):
            if slow and self.delay:
                await asyncio.sleep(self.delay)
            target.write(piece)
            await target.drain()
        raise ConnectionResetError  # one side ended: so does the other
