"""The PostgreSQL database that is filled, in one transaction: what is interrupted has left nothing."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
from sqlalchemy.engine import make_url

from app.core import tls
from app.core.db import CONNECT_TIMEOUT
from app.core.process import CannotRun
from app.tools.copying.lines import NULL, Lines, quoted, tables

LOCK_TIMEOUT = "10s"  # for whoever else is there
SEEDED = "installation"
"""The one table that a migrated database has a row in: the source's takes its place."""

# Those over a few rows stay: they cost little, and PostgreSQL would write their conditions otherwise the second time.
_INDEXES = """
    SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS made FROM pg_index i
    WHERE i.indrelid = $1::regclass AND i.indpred IS NULL
    AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
"""
_CONSTRAINTS = """
    SELECT quote_ident(conname) AS name, pg_get_constraintdef(oid) AS made FROM pg_constraint
    WHERE conrelid = $1::regclass AND contype::text = ANY ($2::text[]) ORDER BY contype DESC
"""
_TRIGGERS = """
    SELECT quote_ident(tgname) AS name, pg_get_triggerdef(oid) AS made FROM pg_trigger
    WHERE tgrelid = $1::regclass AND NOT tgisinternal
"""
_SEQUENCES = """
    SELECT a.attname::text AS column, pg_get_serial_sequence($1, a.attname) AS sequence FROM pg_attribute a
    WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND pg_get_serial_sequence($1, a.attname) IS NOT NULL
"""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["Target"]:
    """The database, in a transaction that the block commits by ending, or undoes by raising.

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
            server_settings={"application_name": "neoforge", "TimeZone": "UTC", "lock_timeout": LOCK_TIMEOUT},
        )
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise CannotRun(f"the target cannot be reached: {error or type(error).__name__}") from None
    try:
        async with connection.transaction(isolation="read_committed"):
            yield Target(connection)
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT.total_seconds())


@dataclass
class _Apart:
    """What is taken off a table while it is filled, and how it is made again."""

    drop: list[str]
    make: list[str]


class Target:
    """What is written to it, and read again."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def revision(self) -> str | None:
        """The revision of its schema: empty where it has no table at all, None where it has others' alone."""
        if await self._connection.fetchval("SELECT to_regclass('alembic_version')"):
            return str(await self._connection.fetchval("SELECT max(version_num) FROM alembic_version"))
        others = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = ANY (current_schemas(false)))"
        return None if await self._connection.fetchval(others) else ""

    async def lock(self) -> None:
        """Keep everybody else out until the end.

        Raises:
            CannotRun: a table has rows.
        """
        names = ", ".join(quoted(one.table.name) for one in tables())
        await self._connection.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
        for one in tables():
            name = one.table.name
            if name != SEEDED and await self._connection.fetchval(f"SELECT EXISTS (SELECT FROM {quoted(name)})"):
                raise CannotRun(f"the target is not empty: {name} has rows")

    async def take_apart(self) -> list[str]:
        """Take constraints, indexes and triggers off every table. What makes them again, in that order."""
        parts: dict[str, _Apart] = {kind: _Apart([], []) for kind in ("triggers", "foreign", "keys", "indexes")}
        for one in tables():
            name = one.table.name
            on = quoted(name)
            for row in await self._connection.fetch(_TRIGGERS, name):
                parts["triggers"].drop.append(f"DROP TRIGGER {row['name']} ON {on}")
                parts["triggers"].make.append(row["made"])
            for kind, types in (("foreign", ["f"]), ("keys", ["p", "u"])):
                for row in await self._connection.fetch(_CONSTRAINTS, name, types):
                    parts[kind].drop.append(f"ALTER TABLE {on} DROP CONSTRAINT {row['name']}")
                    parts[kind].make.append(f"ALTER TABLE {on} ADD CONSTRAINT {row['name']} {row['made']}")
            for row in await self._connection.fetch(_INDEXES, name):
                parts["indexes"].drop.append(f"DROP INDEX {row['name']}")
                parts["indexes"].make.append(row["made"])
        for part in parts.values():
            for statement in part.drop:
                await self._connection.execute(statement)
        await self._connection.execute(f"DELETE FROM {SEEDED}")
        return [made for kind in ("keys", "indexes", "foreign", "triggers") for made in parts[kind].make]

    async def fill(self, table: Lines, chunks: Iterator[Sequence[bytes]]) -> None:
        """Write rows as COPY reads them."""

        async def pieces() -> AsyncIterator[bytes]:
            for lines in chunks:
                yield b"\n".join(lines) + b"\n"

        await self._connection.copy_to_table(
            table.table.name, source=pieces(), columns=table.names, format="text", null=NULL
        )

    async def put_together(self, statements: Sequence[str]) -> None:
        """Make again what was taken off, set the sequences past what is there, and count for the planner."""
        for statement in statements:
            await self._connection.execute(statement)
        for one in tables():
            name = one.table.name
            for row in await self._connection.fetch(_SEQUENCES, name):
                await self._connection.execute(
                    f"SELECT setval('{row['sequence']}', coalesce(max({quoted(row['column'])}), 0) + 1, false)"
                    f" FROM {quoted(name)}"
                )
            await self._connection.execute(f"ANALYZE {quoted(name)}")

    async def lines(self, table: Lines, take: Callable[[list[bytes]], None]) -> None:
        """Give the rows that are there to `take`, some lines at a time."""
        left = b""

        async def output(data: bytes) -> None:
            nonlocal left
            *lines, left = (left + data).split(b"\n")
            take(lines)

        await self._connection.copy_from_query(
            f"SELECT {table.of_postgresql} FROM {quoted(table.table.name)}", output=output, format="text", null=NULL
        )
