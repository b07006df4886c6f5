"""What the fault tests start: processes of the product on a database of their own, and servers that may break."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.databases import own_database
from tests.faults.servers import Redis
from tests.faults.stack import ONE_OF_EACH, Role, Stack
from tests.services import Services

if TYPE_CHECKING:
    from tests.faults.recorder import Recorder

Start = Callable[..., Awaitable[Stack]]


@asynccontextmanager
async def starting(services: Services) -> AsyncIterator[Start]:
    """Start processes: `await start({"api": Role("serve"), …}, REDIS_URL=…)`. They end with the block.

    Their database, and their names in Redis, are nobody else's: the worker of the other tests could not help them.
    """
    stacks: list[Stack] = []

    async def begin(roles: Mapping[str, Role] = ONE_OF_EACH, **env: str) -> Stack:
        name = f"faults-{secrets.token_hex(4)}"
        if "DATABASE_URL" not in env:
            env["DATABASE_URL"] = own_database(services, name)
        stacks.append(Stack(services.log(name), roles, {"REDIS_PREFIX": services.redis_prefix(name), **env}))
        stacks[-1].start_all()
        await stacks[-1].ready()
        return stacks[-1]

    yield begin
    for stack in stacks:
        stack.end()


@pytest.fixture
async def start(services: Services) -> AsyncIterator[Start]:
    """See `starting`."""
    async with starting(services) as begin:
        yield begin


@pytest.fixture
async def redis(services: Services) -> AsyncIterator[Redis]:
    """A Redis that may break."""
    server = Redis(services.log(f"redis-{secrets.token_hex(4)}"))
    await server.start()
    yield server
    server.stop()


@pytest.fixture
def recorder(tmp_path: Path) -> "Recorder":
    from tests.faults.recorder import Recorder  # not before the environment stands: it imports the application

    return Recorder(tmp_path / "operations.jsonl")
