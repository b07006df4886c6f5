"""Head and body of an answer in one packet, where uvicorn writes them one after the other."""

import asyncio
from typing import Any


class Corked:
    """A transport that keeps the head of an answer for the first piece of its body, until the next turn of the loop.

    An event stream may have its body later: the head goes by itself then.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head = b""
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._let_go)
        else:
            self._transport.write(data)

    def _let_go(self) -> None:
        head, self._head = self._head, b""
        if head:
            self._transport.write(head)

    def write_eof(self) -> None:
        self._let_go()
        self._transport.write_eof()

    def close(self) -> None:
        self._let_go()
        self._transport.close()
