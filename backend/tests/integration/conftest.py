import secrets
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.databases import empty_database
from tests.services import Services


@pytest.fixture(autouse=True)
def _clean(clean: None) -> None:
    """Each of these tests leaves the tables empty."""


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database with the one row that each has."""
    from app.tools import migrate  # the settings are made at the first import, and are ready by now

    file = tmp_path_factory.mktemp("migrated") / "app.db"
    migrate.upgrade(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file


@pytest.fixture
def source(migrated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(migrated, tmp_path / "app.db"))


@pytest.fixture
def target(services: Services) -> str:
    """A database with nothing in it."""
    return empty_database(services, f"copied-{secrets.token_hex(4)}")
