"""A PostgreSQL database, read as lines."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
from sqlalchemy.engine import make_url

from app.core import tls
from app.core.db import CONNECT_TIMEOUT
from app.core.process import CannotRun
from app.tools.copying.ahead import Put, produced
from app.tools.copying.lines import NULL, Lines

TRIES, WAITED = 3, timedelta(seconds=15)  # to make or drop a database, and for each
LOCK_TIMEOUT = "10s"  # for whoever else is there
SEQUENCES = """
    SELECT quote_ident(a.attname) AS column, pg_get_serial_sequence($1, a.attname) AS sequence FROM pg_attribute a
    WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND pg_get_serial_sequence($1, a.attname) IS NOT NULL
"""


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
                "row_security": "off",  # who may not read all rows is told so, and does not get some
                "idle_in_transaction_session_timeout": "0",
            },
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, ValueError, asyncpg.InterfaceError) as error:
        raise CannotRun(f"the {what} cannot be reached: {error or type(error).__name__}") from None
    try:
        yield connection
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT.total_seconds())


async def on_server(url: str, statement: str) -> None:
    """Make or drop a database, again while the server still holds one of the two.

    Raises:
        CannotRun: the server cannot be reached, or did not come to it.
        asyncpg.PostgresError: it refuses.
    """
    async with opened(url, "server") as connection:
        for left in reversed(range(TRIES)):
            try:
                await connection.execute(statement, timeout=WAITED.total_seconds())
            except (asyncpg.ObjectInUseError, TimeoutError) as error:
                if not left:
                    raise CannotRun(f"the server did not come to `{statement}`: run it by hand later") from error
                await asyncio.sleep(1)
            else:
                return


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

    async def columns(self) -> dict[str, set[str]]:
        """The columns of every table."""
        query = (
            "SELECT c.relname::text, a.attname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY (current_schemas(false))"
        )
        found: dict[str, set[str]] = {}
        for table, column in await self._connection.fetch(query):
            found.setdefault(table, set()).add(column)
        return found

    async def high_water(self, table: Lines) -> int:
        """The highest number that its sequence has given; 0 where it has none, or is not to be read."""
        for row in await self._connection.fetch(SEQUENCES, table.on):
            if await self._connection.fetchval("SELECT has_sequence_privilege($1, 'SELECT')", row["sequence"]):
                query = f"SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM {row['sequence']}"
                return int(await self._connection.fetchval(query))
        return 0

    async def number(self, table: Lines) -> int:
        """How many rows a table has."""
        return int(await self._connection.fetchval(f"SELECT count(*) FROM {table.on}"))

    async def filled(self, table: Lines) -> dict[str, int]:
        """How many rows have a value, column by column, as SQL counts them: no line is made for that."""
        query = f"SELECT {table.filled} FROM {table.on}{self._those(table)}"
        return table.by_name(tuple(await self._connection.fetchrow(query)))

    def lines(self, table: Lines) -> AsyncIterator[list[bytes]]:
        """Its rows, some at a time."""

        async def read(put: Put[list[bytes]]) -> None:
            left = b""

            async def take(data: bytes) -> None:
                nonlocal left
                *lines, left = (left + data).split(b"\n")
                await put(lines)

            await self._connection.copy_from_query(
                f"SELECT {table.of_postgresql} FROM {table.on}{self._those(table)}",
                output=take,
                format="text",
                null=NULL,
            )

        return produced(read)

    def _those(self, table: Lines) -> str:  # noqa: ARG002 - for a source, which leaves some out
        return ""
