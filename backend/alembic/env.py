"""Runs the migrations over our own engine. One process migrates at a time: the others wait, and find the work done."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.util import CommandError
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection
from sqlmodel import SQLModel
from sqlmodel.sql.sqltypes import AutoString

import app.models  # noqa: F401 - registers the tables
from app.core.config import settings
from app.core.sql import UTCDateTime
from app.tools.migrating import in_turn, migration_engine, without_parameters


def render_item(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    """Write our types into a new revision by their short names."""
    text = item.arg.text if isinstance(getattr(item, "arg", None), TextClause) else ""
    if kind == "server_default" and ":" in text:  # which Alembic would write as a parameter
        return f"sa.text({without_parameters(text)!r})"
    if kind == "type" and isinstance(item, UTCDateTime):
        autogen.imports.add("from app.core.sql import UTCDateTime")
        return "UTCDateTime()"
    if kind == "type" and isinstance(item, AutoString):
        return f"sa.String(length={item.length})" if item.length else "sa.String()"
    if kind == "type" and isinstance(item, JSONB):
        autogen.imports.add("from sqlalchemy.dialects import postgresql")
        return "postgresql.JSONB()"
    if kind == "type" and not type(item).__module__.startswith("sqlalchemy."):
        autogen.imports.add(f"import {type(item).__module__}")
    return False


class Steps:
    """What a command does, worked out once: done again, `downgrade -2` would go two further down than it did before."""

    def __init__(self, work_out: Callable[..., Iterable[Any]]) -> None:
        self._work_out, self._left = work_out, list[Any]()
        self._known = False

    def __call__(self, heads: Any, of: Any) -> list[Any]:
        if not self._known:
            self._left, self._known = list(self._work_out(heads, of)), True
        return list(self._left)

    def done(self, *, ctx: MigrationContext, step: MigrationInfo, **_: Any) -> None:
        """A step's version is written, and about to be committed."""
        assert ctx.connection is not None
        if is_sqlite(ctx.connection) and ctx.connection.exec_driver_sql("PRAGMA foreign_key_check").first():
            raise CommandError("the migration would leave rows that refer to nothing: it is rolled back")
        if tell := context.config.attributes.get("done"):
            tell(ctx.connection, step.up_revision_id)
        self._left.pop(0)


def migrate(connection: Connection) -> None:
    """Each revision is a transaction of its own, done again while others have a lock that it needs."""
    steps: Steps | None = None

    def run() -> None:
        nonlocal steps
        context.configure(
            connection=connection,
            target_metadata=SQLModel.metadata,
            render_as_batch=True,  # a new revision runs on both engines, whichever it was compared with
            render_item=render_item,
            transactional_ddl=True,
            transaction_per_migration=True,
            compare_type=True,
            on_version_apply=lambda **said: steps.done(**said) if steps else None,
        )
        running = context.get_context()
        steps = steps or Steps(running._migrations_fn)
        running._migrations_fn = steps
        with context.begin_transaction():
            context.run_migrations()

    in_turn(connection, run)


def is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"


async def online() -> None:
    engine = migration_engine(context.config.attributes.get("url") or settings.migration_database_url)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    context.configure(
        url=settings.migration_database_url,
        target_metadata=SQLModel.metadata,
        literal_binds=True,
        render_item=render_item,
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(online())
