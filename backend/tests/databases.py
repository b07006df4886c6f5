"""Databases of a test run: one that is migrated, copies of it for the workers, and empty ones."""

import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.services import Services, execute

MIGRATED = "NEOFORGE_TEST_MIGRATED"  # what the template is a copy of: a file, or a database of TEST_DATABASE_URL


def make_template(services: Services, migrate: Callable[[str], None]) -> None:
    """The one database that is migrated, or a copy of one that is already; every worker copies it."""
    original = os.environ.get(MIGRATED)
    if original:
        _copy(services, original, "template")
        return
    if services.stack == "server":
        execute(
            services.postgres_url,
            f'CREATE DATABASE "{services.database_name("template")}" TEMPLATE template0 '
            "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
        )
    migrate(services.database("template"))


def copy_template(services: Services, name: str) -> None:
    """Make the run's database `name` as a copy of the migrated one."""
    _copy(services, place(services, "template"), name)


def place(services: Services, name: str) -> str:
    """Where the run's database `name` is: its file, or its name on the server."""
    return services.database_name(name) if services.stack == "server" else str(Path(services.folder) / f"{name}.db")


def _copy(services: Services, original: str, name: str) -> None:
    target = place(services, name)
    if services.stack == "server":
        execute(services.postgres_url, f'CREATE DATABASE "{target}" TEMPLATE "{original}"')
        return
    with closing(sqlite3.connect(original)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


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
