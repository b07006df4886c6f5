"""A PostgreSQL database that is filled, in transactions: what is interrupted has left nothing of its own."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from app.tools.copying.lines import NULL, Lines
from app.tools.copying.postgresql import SEQUENCES, PostgresqlRows, opened

SORTING = "256MB"  # of the server, while an index is made

# Those over a few rows stay: they cost little, and PostgreSQL would write their conditions otherwise the second time.
_INDEXES = """
    SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS made FROM pg_index i
    WHERE i.indrelid = $1::regclass AND i.indpred IS NULL
    AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
"""
_KEYS = """
    SELECT quote_ident(conname) AS name, conrelid::regclass::text AS of, pg_get_constraintdef(oid) AS made
    FROM pg_constraint WHERE conrelid = $1::regclass AND contype IN ('p', 'u') ORDER BY contype
"""
_FOREIGN = """
    SELECT quote_ident(conname) AS name, conrelid::regclass::text AS of, pg_get_constraintdef(oid) AS made
    FROM pg_constraint WHERE $1::regclass IN (conrelid, confrelid) AND contype = 'f'
"""
_TRIGGERS = """
    SELECT quote_ident(tgname) AS name, tgrelid::regclass::text AS of, pg_get_triggerdef(oid) AS made FROM pg_trigger
    WHERE tgrelid = $1::regclass AND NOT tgisinternal
"""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["PostgresqlTarget"]:
    """The database.

    Raises:
        CannotRun: it cannot be reached.
    """
    async with opened(url, "target") as connection:
        yield PostgresqlTarget(connection, url)


class PostgresqlTarget(PostgresqlRows):
    """What is written to it, and read again."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """What is committed together."""
        async with self._connection.transaction(isolation="read_committed"):
            yield

    async def lock(self, tables: Sequence[Lines]) -> None:
        """Keep everybody else out of these tables until the transaction ends."""
        await self._connection.execute(f"LOCK TABLE {', '.join(one.on for one in tables)} IN ACCESS EXCLUSIVE MODE")

    async def take_apart(self, tables: Sequence[Lines]) -> list[str]:
        """Take constraints, indexes and triggers off these tables. What makes them again, in that order."""
        kinds = ("triggers", "foreign", "keys", "indexes")
        drop: dict[str, dict[str, None]] = {kind: {} for kind in kinds}  # each once: a key is of two tables
        make: dict[str, dict[str, None]] = {kind: {} for kind in kinds}
        for one in tables:
            for row in await self._connection.fetch(_TRIGGERS, one.on):
                drop["triggers"][f"DROP TRIGGER {row['name']} ON {row['of']}"] = None
                make["triggers"][row["made"]] = None
            for kind, query in (("foreign", _FOREIGN), ("keys", _KEYS)):
                for row in await self._connection.fetch(query, one.on):
                    drop[kind][f"ALTER TABLE {row['of']} DROP CONSTRAINT {row['name']}"] = None
                    make[kind][f"ALTER TABLE {row['of']} ADD CONSTRAINT {row['name']} {row['made']}"] = None
            for row in await self._connection.fetch(_INDEXES, one.on):
                drop["indexes"][f"DROP INDEX {row['name']}"] = None
                make["indexes"][row["made"]] = None
        for kind in kinds:
            for statement in drop[kind]:
                await self._connection.execute(statement)
        return [made for kind in ("keys", "indexes", "foreign", "triggers") for made in make[kind]]

    async def empty(self, table: Lines) -> None:
        """Delete all rows of a table that is taken apart."""
        await self._connection.execute(f"TRUNCATE {table.on}")

    async def fill(self, table: Lines, chunks: AsyncIterator[Sequence[bytes]]) -> None:
        """Write rows as COPY reads them."""

        async def pieces() -> AsyncIterator[bytes]:
            async for lines in chunks:
                yield b"\n".join(lines) + b"\n"

        await self._connection.copy_to_table(
            table.table.name, source=pieces(), columns=table.names, format="text", null=NULL, freeze=True
        )

    async def put_together(self, statements: Sequence[str], tables: Sequence[Lines], given: Mapping[str, int]) -> None:
        """Make again what was taken off, set the sequences past what is there and was given, count for the planner."""
        await self._connection.execute(f"SET LOCAL maintenance_work_mem = '{SORTING}'")
        for statement in statements:
            await self._connection.execute(statement)
        for one in tables:
            for row in await self._connection.fetch(SEQUENCES, one.on):
                last = f"greatest(coalesce(max({row['column']}), 0), {given.get(one.table.name, 0)})"
                await self._connection.execute(f"SELECT setval('{row['sequence']}', {last} + 1, false) FROM {one.on}")
            await self._connection.execute(f"ANALYZE {one.on}")
