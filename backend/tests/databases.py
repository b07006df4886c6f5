"""Databases of a test run: one that is migrated, copies of it for the workers, and empty ones."""

import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path

from tests.services import Services, execute


def make_template(services: Services, migrate: Callable[[str], None]) -> None:
    """The one database that is migrated; every worker copies it."""
    if services.stack == "server":
        execute(
            services.postgres_url,
            f'CREATE DATABASE "{services.database_name("template")}" TEMPLATE template0 '
            "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
        )
    migrate(services.database("template"))


def copy_template(services: Services, name: str) -> None:
    """Make the run's database `name` as a copy of the migrated one."""
    if services.stack == "server":
        execute(
            services.postgres_url,
            f'CREATE DATABASE "{services.database_name(name)}" TEMPLATE "{services.database_name("template")}"',
        )
        return
    folder = Path(services.folder)
    source, target = sqlite3.connect(folder / "template.db"), sqlite3.connect(folder / f"{name}.db")
    source.backup(target)
    source.close()
    target.close()


def own_database(services: Services, name: str) -> str:
    """A copy of the migrated one for a test whose processes nobody else's may help. Returns its URL."""
    own = f"{name}-{secrets.token_hex(4)}"
    copy_template(services, own)
    return services.database(own)


def empty_database(services: Services, name: str) -> str:
    """A database of the run's own with nothing in it, for tests of the migrations themselves. Returns its URL."""
    if services.stack == "server":
        execute(
            services.postgres_url,
            f'DROP DATABASE IF EXISTS "{services.database_name(name)}" WITH (FORCE)',
            f"CREATE DATABASE \"{services.database_name(name)}\" TEMPLATE template0 ENCODING 'UTF8'",
        )
    else:
        for suffix in ("", "-wal", "-shm"):
            (Path(services.folder) / f"{name}.db{suffix}").unlink(missing_ok=True)
    return services.database(name)
