"""PostgreSQL: backed up by pg_dump, restored in one transaction that is committed only when every row was compared."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy.engine import make_url

from app.core import tls
from app.core.db import CONNECT_TIMEOUT, driver_url
from app.core.process import CannotRun
from app.tools.backups.archive import Archive, Table
from app.tools.backups.files import new_file
from app.tools.digest import Digest
from app.tools.postgresql import program, told

LOCKED = 10  # seconds to wait for who uses a table
SESSION = {  # so that a row has the same text here and in the archive
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "3",
    "lock_timeout": f"{LOCKED}s",
    "application_name": "neoforge",
}
OTHERS = """
SELECT nspname FROM pg_namespace n WHERE nspname NOT LIKE 'pg\\_%' AND nspname NOT IN ('public', 'information_schema')
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = n.oid AND d.deptype = 'e')
"""
# Without the sequences of columns, which go with their tables
RELATIONS = """
SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS kind, format('public.%I', relname) AS name
FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass
AND (d.deptype = 'e' OR (c.relkind = 'S' AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0)))
"""
ROUTINES = """
SELECT 'ROUTINE' AS kind, format('public.%I(%s)', proname, pg_get_function_identity_arguments(oid)) AS name
FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
"""
TYPES = """
SELECT 'TYPE' AS kind, format('public.%I', typname) AS name FROM pg_type t
WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd', 'r', 'c')
AND (typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = typrelid AND relkind = 'c'))
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.deptype = 'e')
"""


def backup(url: str, file: Path) -> str:
    """Dump the database into the new file `file` and read all of it again. Answers its revision.

    Raises:
        CannotRun: no such file can be made, or pg_dump is missing, too old, or did not do it.
    """
    version = asyncio.run(_version(url))
    name, environment = told(url)
    with new_file(file) as draft:
        options = ("--format=custom", "--encoding=UTF8", "--no-password", f"--lock-wait-timeout={LOCKED}s")
        command = [str(program("pg_dump", version)), *options, f"--file={draft}", f"--dbname={name}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - no password is in it
        if done.returncode:
            raise CannotRun(f"pg_dump did not do it: {done.stderr.strip()}")
        archive = Archive(draft, version, file)
        archive.check()
        return archive.revision()


def archive(url: str, file: Path) -> Archive:
    """The backup `file` to be restored to `url`, after all of it was read.

    Raises:
        CannotRun: it is damaged, or pg_restore is missing or too old.
    """
    found = Archive(file, asyncio.run(_version(url)), file)
    found.check()
    return found


def is_empty(url: str) -> bool:
    return asyncio.run(_is_empty(url))


def restore(url: str, found: Archive, *, privileges: bool) -> dict[str, Digest]:
    """Put what the archive has in the place of all that is in the database. Answers what was put there, by table.

    Raises:
        CannotRun: it did not work, and the database has what it had before.
    """
    try:
        return asyncio.run(_restore(url, found, privileges=privileges))
    except asyncpg.LockNotAvailableError:
        raise CannotRun("the database is in use: stop the API, the workers and the scheduler first") from None
    except asyncpg.UndefinedObjectError as error:
        role = re.search(r'role "(.+)" does not exist', str(error))
        also = ": make it, or restore with --no-privileges" if role else ""
        raise CannotRun(f"{error}{also}. The database has what it had before") from None
    except asyncpg.PostgresError as error:
        raise CannotRun(f"{error}. The database has what it had before") from None


def empty(url: str) -> None:
    """Take everything out of the database's schema `public`.

    Raises:
        CannotRun: it is in use.
    """
    try:
        asyncio.run(_empty_alone(url))
    except asyncpg.LockNotAvailableError:
        raise CannotRun("the database is in use: stop the API, the workers and the scheduler first") from None


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    target, query = driver_url(url).set(drivername="postgresql"), make_url(url).query
    dsn, context = target.render_as_string(hide_password=False), tls.for_postgresql(query)
    within = CONNECT_TIMEOUT.total_seconds()
    connection = await asyncpg.connect(dsn, ssl=context, timeout=within, server_settings=SESSION)
    try:
        yield connection
    finally:
        await connection.close(timeout=within)


async def _version(url: str) -> int:
    async with connected(url) as connection:
        return int(connection.get_server_version().major)


async def _is_empty(url: str) -> bool:
    async with connected(url) as connection:
        return not await connection.fetch(RELATIONS)


async def _empty_alone(url: str) -> None:
    async with connected(url) as connection, connection.transaction():
        await _empty(connection)


async def _empty(connection: Any) -> None:
    others = [row["nspname"] for row in await connection.fetch(OTHERS)]
    if others:
        raise CannotRun(
            f"the database has other schemas than public ({', '.join(others)}): do it by hand, or take an empty one"
        )
    for kind in (RELATIONS, ROUTINES, TYPES):
        for row in await connection.fetch(kind):
            await connection.execute(f"DROP {row['kind']} IF EXISTS {row['name']} CASCADE")


async def _restore(url: str, found: Archive, *, privileges: bool) -> dict[str, Digest]:
    wanted: dict[Table, Digest] = {}
    async with connected(url) as connection, connection.transaction():
        known = {row["name"] for row in await connection.fetch("SELECT name FROM pg_settings")}
        await _empty(connection)
        await connection.execute(found.statements("pre-data", known, privileges=privileges))
        for one, lines in found.rows():
            if isinstance(one, Table):
                wanted[one] = Digest()
                await _fill(connection, one, lines, wanted[one])
            else:
                await connection.execute(one)
        await connection.execute(found.statements("post-data", known, privileges=privileges))
        differ = [str(table) for table, digest in wanted.items() if await _digest(connection, table) != digest]
        if differ:
            raise CannotRun(f"rows of {', '.join(differ)} are not what the backup has: nothing was changed")
    return {str(table): digest for table, digest in wanted.items()}


async def _fill(connection: Any, table: Table, lines: Iterator[list[bytes]], digest: Digest) -> None:
    async def source() -> AsyncIterator[bytes]:
        for some in lines:
            digest.add(some)
            yield b"\n".join(some) + b"\n"

    await connection.copy_to_table(
        table.name, schema_name=table.schema, columns=table.columns or None, source=source(), format="text"
    )


async def _digest(connection: Any, table: Table) -> Digest:
    """What the rows that are there now come to."""
    found, left = Digest(), b""

    async def output(data: bytes) -> None:
        nonlocal left
        *lines, left = (left + data).split(b"\n")
        found.add(lines)

    await connection.copy_from_table(
        table.name, schema_name=table.schema, columns=table.columns or None, output=output, format="text"
    )
    return found
