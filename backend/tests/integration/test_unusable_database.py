"""A database that refuses the connection, or that is not migrated: the service says so, and that it may come back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from httpx2 import AsyncClient

from tests.databases import empty_database
from tests.flows import PASSWORD, V1, problem
from tests.services import Services
from tests.stack import Server
from tests.unit.test_cli import assert_one_line, neoforge

LOGIN = {"email": "nobody@example.com", "password": PASSWORD}


class Refusing:
    """A PostgreSQL that answers every connection with this SQLSTATE."""

    def __init__(self) -> None:
        self.state = ""
        self.asked = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(4))
        if await reader.readexactly(length - 4) == (80877103).to_bytes(4):  # may it be TLS?
            writer.write(b"N")
            length = int.from_bytes(await reader.readexactly(4))
            await reader.readexactly(length - 4)
        self.asked += 1
        fields = b"".join(part + b"\0" for part in (b"SFATAL", b"VFATAL", b"C" + self.state.encode(), b"Mno"))
        writer.write(b"E" + (4 + len(fields) + 1).to_bytes(4) + fields + b"\0")
        await writer.drain()
        writer.close()


@pytest.fixture
async def refusing() -> AsyncIterator[tuple[Refusing, str]]:
    fake = Refusing()
    listening = await asyncio.start_server(fake.answer, "127.0.0.1", 0)
    async with listening:
        yield fake, f"postgresql://u:p@127.0.0.1:{listening.sockets[0].getsockname()[1]}/d"


async def login(server: Server) -> tuple[int, str]:
    async with AsyncClient(base_url=server.url, trust_env=False, timeout=30) as client:
        answer = await client.post(f"{V1}/auth/login", json=LOGIN)
    assert int(answer.headers["retry-after"]) > 0
    return problem(answer)


async def test_a_refused_connection_is_503(
    server: Callable[..., Awaitable[Server]], refusing: tuple[Refusing, str]
) -> None:
    fake, url = refusing
    running = await server(DATABASE_URL=url)
    for state in ("3D000", "28000", "28P01", "57P03", "53300"):
        fake.state, fake.asked = state, 0
        assert await login(running) == (503, "service_unavailable")
        assert fake.asked
        assert f'"sqlstate": "{state}"' in running.output()


async def test_a_database_that_is_not_migrated_is_503(
    server: Callable[..., Awaitable[Server]], services: Services
) -> None:
    running = await server(DATABASE_URL=empty_database(services, "never_migrated"))
    assert await login(running) == (503, "service_unavailable")


@pytest.mark.parametrize("command", [["db", "upgrade"], ["db", "current"]])
async def test_the_commands_tell_of_a_refusal_in_one_line(command: list[str], refusing: tuple[Refusing, str]) -> None:
    fake, url = refusing
    fake.state = "3D000"
    assert_one_line(await asyncio.to_thread(neoforge, *command, DATABASE_URL=url), 1, "DATABASE_URL")
