"""Reading on while what was read is written: a thread works for the reader, and a few pieces wait for the writer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

PIECES = 4  # that are read before they are asked for

T = TypeVar("T")
Put = Callable[[T], Awaitable[None]]
_thread = ThreadPoolExecutor(1, "copy")


async def in_thread(work: Callable[..., T], *args: Any) -> T:
    """What `work` returns, beside the event loop. It has ended when this ends, cancelled or not."""
    done = asyncio.get_running_loop().run_in_executor(_thread, work, *args)
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.wait([done])
        raise


def ahead(read: AsyncIterator[T]) -> AsyncIterator[T]:
    """The same pieces, read before they are asked for."""

    async def put_all(put: Put[T]) -> None:
        async for piece in read:
            await put(piece)

    return produced(put_all)


async def produced(work: Callable[[Put[T]], Awaitable[None]]) -> AsyncIterator[T]:
    """What `work` puts, while it goes on; it waits while `PIECES` have not been asked for."""
    pieces: asyncio.Queue[T | None] = asyncio.Queue(PIECES)

    async def working() -> None:
        try:
            await work(pieces.put)
        finally:
            await pieces.put(None)

    task = asyncio.create_task(working())
    try:
        while (piece := await pieces.get()) is not None:
            yield piece
        await task
    finally:
        task.cancel()
        while not pieces.empty():  # else it would wait to say that it has ended
            pieces.get_nowait()
        with suppress(asyncio.CancelledError):
            await task
