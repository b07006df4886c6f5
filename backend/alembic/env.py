"""Runs the migrations over our own engine. One process migrates at a time: the others wait, and find the work done."""

import asyncio
from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy.engine import Connection
from sqlalchemy.pool import PoolProxiedConnection
from sqlmodel import SQLModel
from sqlmodel.sql.sqltypes import AutoString

import app.models  # noqa: F401 - registers the tables
from app.core.config import settings
from app.core.db import build_engine
from app.core.sql import UTCDateTime

LOCK = 0x6E656F66  # "neof": the advisory lock that migrations of one PostgreSQL database share


def render_item(kind: str, item: Any, _: AutogenContext) -> str | Literal[False]:
    """Write our types into a new revision by their short names."""
    if kind == "type" and isinstance(item, UTCDateTime):
        return "UTCDateTime()"
    if kind == "type" and isinstance(item, AutoString):
        return f"sa.String(length={item.length})" if item.length else "sa.String()"
    return False


def migrate(connection: Connection) -> None:
    sqlite = connection.dialect.name == "sqlite"
    with connection.begin():
        if not sqlite:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.configure(
            connection=connection,
            target_metadata=SQLModel.metadata,
            render_as_batch=sqlite,
            render_item=render_item,
            transactional_ddl=True,
            compare_type=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        if sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
            raise RuntimeError("the migration would leave rows that refer to nothing: it is rolled back")


def keep_references(connection: PoolProxiedConnection) -> None:
    """SQLite changes a table by making it anew; with foreign keys on, dropping the old one would empty its children."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = OFF")
    cursor.close()


async def online() -> None:
    url = context.config.attributes.get("url") or settings.migration_database_url
    engine = build_engine(url, pool_size=1)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine.sync_engine, "connect", lambda connection, _: keep_references(connection))
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
