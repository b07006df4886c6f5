"""Running what a command does: in an event loop of its own, letting go of the servers at the end."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from app.core import redis
from app.core.db import dispose
from app.core.logging import set_up

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work; what it answers."""
    set_up("command")

    async def whole() -> Result:
        try:
            return await work
        finally:
            await redis.close()
            await dispose()

    return asyncio.run(whole())
