"""Threads that tell a few results at a time while much waits.

Argon2id goes through more memory than a processor's caches hold. An event loop that is woken for each result finds its
own code there no more, and needs twice the time for what follows; woken for four, it needs that once.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

MOST = 4  # results told at once

T = TypeVar("T")


@dataclass(slots=True, repr=False)  # a loop logs the arguments of a call that fails, and here they are passwords
class _Piece:
    """Something that is to be done, and who waits for it."""

    work: Callable[..., Any]
    args: tuple[Any, ...]
    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[Any]"
    found: Any = None
    error: BaseException | None = None

    def do(self) -> None:
        try:
            self.found = self.work(*self.args)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self.error = error

    def tell(self) -> None:
        if self.answer.done():  # who waited was cancelled
            return
        if self.error is not None:
            self.answer.set_exception(self.error)
        else:
            self.answer.set_result(self.found)


class Batches:
    """A pool of so many threads. Who calls `run` bounds how much waits."""

    def __init__(self, threads: int, name: str) -> None:
        self._few = 2 * threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._waiting: deque[_Piece] = deque()

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """What `work` returns or raises, from one of the threads. What is cancelled before its turn is not done."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._waiting.append(_Piece(work, args, loop, answer))
        self._threads.submit(self._do_some)
        return await answer

    def _do_some(self) -> None:
        """Do one piece, or up to `MOST` where twice as many wait for each thread. There may be none left."""
        done: defaultdict[asyncio.AbstractEventLoop, list[_Piece]] = defaultdict(list)
        for _ in range(max(1, min(MOST, len(self._waiting) // self._few))):
            try:
                piece = self._waiting.popleft()
            except IndexError:
                break
            if not piece.answer.cancelled():
                piece.do()
                done[piece.loop].append(piece)
        for loop, pieces in done.items():
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(_tell, pieces)


def _tell(pieces: list[_Piece]) -> None:
    for piece in pieces:
        piece.tell()
