"""Asking Redis on the way of a request: for 50 ms at a time, 150 ms at most, and not at all once it did not answer."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog
from redis.exceptions import NoScriptError

from app.core.redis import Unreachable, redis_client

LOOK_AFTER = 0.05  # seconds
PATIENCE = 3  # looks in vain; on two busy cores a healthy Redis was seen to need two
MOST_LOOKS = 8  # together with those that came late themselves: then this process was busy, and Redis may have answered
PAUSE = 1.0  # seconds between two tries whether a Redis that did not answer is back
AT_ONCE = 4  # calls; the rest of a flood waits its turn, and does not spend its time on opening connections

log = structlog.get_logger()


class Script:
    """A Lua script, which Redis runs as one step. All keys of a call share a hash tag, so that a Cluster can run it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()  # what Redis names scripts by

    async def run(self, keys: list[str], *args: str | int) -> Any:
        client = redis_client()
        try:
            return await client.evalsha(self._sha, len(keys), *keys, *args)
        except NoScriptError:  # the first call since that server started
            return await client.eval(self._text, len(keys), *keys, *args)


class Breaker:
    """Keeps requests from waiting for a Redis that does not answer. Whether it is back is tried beside them."""

    def __init__(self, part: str) -> None:
        self._part = part
        """Who asks, as the log names it."""
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._trying: asyncio.Task[None] | None = None

    def is_closed(self) -> bool:
        """Whether Redis answered the last time."""
        return self._trying is None

    async def ask(self, call: Callable[[], Awaitable[Any]]) -> Any | None:
        """The answer, or None where there was none in time."""
        if not self.is_closed():
            return None
        async with self._gate:
            if not self.is_closed():  # it was lost while this one waited its turn
                return None
            try:
                return await in_time(call())
            except Unreachable as error:
                self._lost(error)
                return None

    def _lost(self, error: BaseException) -> None:
        if self.is_closed():
            log.warning("redis_lost", part=self._part, error=type(error).__name__)
            self._trying = asyncio.get_running_loop().create_task(self._try_again())

    async def _try_again(self) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            with suppress(*Unreachable):
                await in_time(redis_client().ping())
                break
        self._trying = None
        log.info("redis_answers", part=self._part)


async def in_time(call: Awaitable[Any]) -> Any:
    """The answer of `call`, for which is looked a few times.

    Raises:
        TimeoutError, or what `call` raises.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(call)
    task.add_done_callback(_looked_at)
    in_vain = 0
    for _ in range(MOST_LOOKS):
        began = loop.time()
        await asyncio.wait({task}, timeout=LOOK_AFTER)
        if task.done():
            return task.result()
        in_vain += loop.time() - began < 1.1 * LOOK_AFTER
        if in_vain == PATIENCE:
            break
    task.cancel()  # not waited for: closing a connection to a server that does not answer takes long
    raise TimeoutError


def _looked_at(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()
