"""Waiting for what a test awaits, instead of for a time that is hoped to be enough."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any


async def eventually(check: Callable[[], Any | Awaitable[Any]], within: float = 30) -> Any:
    """Ask until the answer is true (or an assertion in `check` holds and it answers true), and return that answer.

    Raises:
        AssertionError: it did not come true within so many seconds; from the last failure of `check`, if it had one.
    """
    deadline, pause = time.monotonic() + within, 0.01
    while True:
        failure: AssertionError | None = None
        try:
            answer = check()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return answer
        except AssertionError as error:
            failure = error
        if time.monotonic() >= deadline:
            raise failure or AssertionError(f"not within {within} s: {inspect.getsource(check).strip()}")
        await asyncio.sleep(pause)  # the one poll that all tests share
        pause = min(pause * 1.5, 0.25)
