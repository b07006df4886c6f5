"""Where the database's schema stands."""

import asyncio

import click
from alembic.runtime.migration import MigrationContext

from app.core.config import settings
from app.core.db import build_engine
from app.core.secrets import private_folder
from app.tools import migrate


def upgrade(revision: str) -> None:
    """Bring the schema to `revision`. The embedded database's folder is made if this is the first start."""
    if settings.migration_database_url.startswith(f"sqlite:///{settings.data_dir}/"):
        private_folder(settings.data_dir)
    migrate.upgrade(revision=revision)
    if revision in migrate.known() and (found := revisions()[0]) != revision:
        click.echo(
            f"the database is at {found}, newer than {revision}: `neoforge db downgrade {revision}` goes back", err=True
        )


def revisions() -> tuple[str, str]:
    """The database's revision (empty when it has none yet) and the newest that this code knows."""
    return asyncio.run(_current()), migrate.head()


async def _current() -> str:
    engine = build_engine(settings.migration_database_url, pool_size=1)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(lambda c: MigrationContext.configure(c).get_current_revision()) or ""
    finally:
        await engine.dispose()
