"""What an engine must do that is measured, and need not where it is only tested: write to a disk, and sync."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import postgres
from tests.binaries import public_temporary_folder
from tests.services import PREFIX, Services, execute

UNSAFE = "fsync=off full_page_writes=off"  # what the tests save time with


def folder_on_disk() -> Path:
    """A folder for the SQLite file, which the tests keep in memory. Whoever makes it removes it."""
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=public_temporary_folder()))


@contextmanager
def syncing_postgres() -> Iterator[None]:
    """A PostgreSQL that is started in this block syncs."""
    quick = postgres.OPTIONS
    postgres.OPTIONS = quick.replace(UNSAFE, "")
    try:
        yield
    finally:
        postgres.OPTIONS = quick


def refuse_unsafe(services: Services) -> None:
    """Look whether commits cost what they cost in production.

    Raises:
        SystemExit: PostgreSQL does not sync.
    """
    if execute(services.postgres_url, "SHOW fsync")[0][0] != "on":
        raise SystemExit("PostgreSQL runs with fsync=off: nothing that is measured with it would be true")


def versions(services: Services, redis: dict[str, Any]) -> str:
    """Of what answers, `redis` being the section `server` of its INFO."""
    broker = f"Valkey {redis['valkey_version']}" if "valkey_version" in redis else f"Redis {redis['redis_version']}"
    if services.stack == "embedded":
        return f"SQLite {sqlite3.sqlite_version} + {broker}"
    return f"PostgreSQL {execute(services.postgres_url, 'SHOW server_version')[0][0]} + {broker}"
