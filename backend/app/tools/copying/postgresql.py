"""A PostgreSQL database, read as lines."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
from sqlalchemy.engine import make_url

from app.core import tls
from app.core.db import CONNECT_TIMEOUT
from app.core.process import CannotRun
from app.tools.copying.lines import NULL, Lines

LOCK_TIMEOUT = "10s"  # for whoever else is there
AHEAD = 4  # pieces that are read before they are asked for
_END = None


@asynccontextmanager
async def opened(url: str, what: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to `what`, the source or the target. Its statements may take as long as they need.

    Raises:
        CannotRun: it cannot be reached.
    """
    parsed = make_url(url)
    plain = parsed.set(
        drivername="postgresql", query={key: value for key, value in parsed.query.items() if not key.startswith("ssl")}
    )
    try:
        connection = await asyncpg.connect(
            plain.render_as_string(hide_password=False),
            timeout=CONNECT_TIMEOUT.total_seconds(),
            ssl=tls.for_postgresql(parsed.query),
            server_settings={
                "application_name": "neoforge",
                "TimeZone": "UTC",
                "lock_timeout": LOCK_TIMEOUT,
                "DateStyle": "ISO",
                "bytea_output": "hex",
                "extra_float_digits": "1",
                "statement_timeout": "0",
                "idle_in_transaction_session_timeout": "0",
            },
        )
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise CannotRun(f"the {what} cannot be reached: {error or type(error).__name__}") from None
    try:
        yield connection
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT.total_seconds())


def place(url: str) -> str:
    """Where a database is, without who asks for it."""
    parsed = make_url(url)
    return f"{parsed.host or 'localhost'}:{parsed.port or 5432}/{parsed.database}"


class PostgresqlRows:
    """What is read of it."""

    def __init__(self, connection: asyncpg.Connection, url: str) -> None:
        self._connection = connection
        self.name = place(url)

    async def revision(self) -> str | None:
        """The revision of its schema: empty where it has no table at all, None where it has others' alone."""
        if await self._connection.fetchval("SELECT to_regclass('alembic_version')"):
            return str(await self._connection.fetchval("SELECT max(version_num) FROM alembic_version"))
        others = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = ANY (current_schemas(false)))"
        return None if await self._connection.fetchval(others) else ""

    async def number(self, table: Lines) -> int:
        """How many rows a table has."""
        return int(await self._connection.fetchval(f"SELECT count(*) FROM {table.on}"))

    async def lines(self, table: Lines) -> AsyncIterator[list[bytes]]:
        """Its rows, some at a time."""
        pieces: asyncio.Queue[list[bytes] | None] = asyncio.Queue(AHEAD)
        left = b""

        async def take(data: bytes) -> None:
            nonlocal left
            *lines, left = (left + data).split(b"\n")
            await pieces.put(lines)

        async def read() -> None:
            try:
                await self._connection.copy_from_query(
                    f"SELECT {table.of_postgresql} FROM {table.on}{self._those(table)}",
                    output=take,
                    format="text",
                    null=NULL,
                )
            finally:
                await pieces.put(_END)

        reading = asyncio.create_task(read())
        try:
            while (piece := await pieces.get()) is not _END:
                yield piece
            await reading
        finally:
            reading.cancel()
            while not pieces.empty():  # else it would wait to say that it has ended
                pieces.get_nowait()
            with suppress(asyncio.CancelledError):
                await reading

    def _those(self, table: Lines) -> str:  # noqa: ARG002 - for a source, which leaves some out
        return ""
