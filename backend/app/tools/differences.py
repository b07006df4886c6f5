"""What the models say and the migrations do not, or the other way round, on an engine: `neoforge db check`."""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import structlog
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

import app.models  # noqa: F401 - registers the tables
from app.core.db import build_engine
from app.core.process import CannotRun
from app.tools import migrate
from app.tools.copying.postgresql import on_server
from app.tools.narrowing import told

NOT_COMPARED = (
    "CHECK constraints, server defaults, primary keys, conditions and expressions of indexes, "
    "values of an Enum, sqlite_autoincrement: migrate and look at a change of these by hand"
)
log = structlog.get_logger()
_ONLY = {"add": "is in the models alone", "remove": "is in the migrations alone"}


@contextmanager
def on_sqlite() -> Iterator[str]:
    """The URL of an empty SQLite database that goes with the block."""
    with tempfile.TemporaryDirectory(prefix="neoforge-check-") as folder:
        yield f"sqlite:///{folder}/check.db"


@contextmanager
def on_postgresql(server: str) -> Iterator[str]:
    """The URL of an empty database on the server of this URL, made for the block and dropped after it.

    Raises:
        CannotRun: this role may make none.
    """
    name = f"neoforge_check_{secrets.token_hex(6)}"
    try:
        asyncio.run(on_server(server, f"CREATE DATABASE {name} TEMPLATE template0"))
    except asyncpg.InsufficientPrivilegeError:
        raise CannotRun(
            "this role may not create the database that the check makes and drops: "
            "give the URL of one that may with --postgresql, as of a server for development"
        ) from None
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        try:
            asyncio.run(on_server(server, f"DROP DATABASE {name} WITH (FORCE)"))
        except CannotRun as error:  # what was asked is known all the same
            log.warning("database_left_behind", database=name, reason=str(error))


def found(url: str) -> list[str]:
    """The differences after all migrations have run on the empty database at `url`, each a sentence."""
    migrate.upgrade(url)
    return asyncio.run(_compared(url))


async def _compared(url: str) -> list[str]:
    async with _connected(url) as connection:
        return await connection.run_sync(_differences)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[AsyncConnection]:
    engine = build_engine(url, pool_size=1)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


def _differences(connection: Connection) -> list[str]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return [words for one in compare_metadata(context, SQLModel.metadata) for words in _words(one)]


def _words(difference: Any) -> Iterator[str]:
    """A difference as Alembic gives it, in words."""
    if isinstance(difference, list):
        for one in difference:
            yield from _words(one)
        return
    kind, *given = difference
    verb, _, what = kind.partition("_")
    if verb == "modify":
        _, table, column, _, migrated, modelled = given
        says = {"nullable": ("NOT NULL", "NULL")}.get(what)
        of = (says[migrated], says[modelled]) if says else (told(migrated), told(modelled))
        yield f"{what} of {table}.{column} is {of[0]} in the migrations and {of[1]} in the models"
    elif what == "column":
        yield f"the column {given[1]}.{given[2].name} {_ONLY[verb]}"
    elif verb in _ONLY and what in ("table", "index", "constraint", "fk"):
        one = given[0]
        on = "" if what == "table" else f" on {one.table.name}"
        yield f"the {'foreign key' if what == 'fk' else what} {one.name}{on} {_ONLY[verb]}"
    else:
        yield f"{kind}: {given}"
