"""Alembic from Python, for the commands and for readiness. Synchronous: it has a thread and a loop of its own."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import alembic.command
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.core.config import settings

BACKEND = Path(__file__).resolve().parents[2]

_thread = ThreadPoolExecutor(1, "migrate")


def config(url: str | None = None) -> Config:
    """Alembic's configuration, for the database at `url` (default: MIGRATION_DATABASE_URL)."""
    made = Config(str(BACKEND / "alembic.ini"))
    made.attributes["url"] = url or settings.migration_database_url
    return made


def upgrade(url: str | None = None, revision: str = "head") -> None:
    """Bring the database to `revision`. Safe to call from several processes at once."""
    _apart(lambda: alembic.command.upgrade(config(url), revision))


def downgrade(url: str | None = None, revision: str = "-1") -> None:
    """Take the database back to `revision`."""
    _apart(lambda: alembic.command.downgrade(config(url), revision))


def check(url: str | None = None) -> None:
    """Raise `alembic.util.CommandError` when the models and the migrated database differ."""
    _apart(lambda: alembic.command.check(config(url)))


def head() -> str:
    """The newest revision that this code knows."""
    found = ScriptDirectory.from_config(config()).get_current_head()
    if found is None:
        raise RuntimeError(f"no migrations in {BACKEND / 'alembic'}")
    return found


def known() -> set[str]:
    """Every revision that this code knows."""
    return {script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()}


def _apart(work: Callable[[], None]) -> None:
    """Run `work` in a thread, since Alembic's environment starts an event loop and the caller may stand in one."""
    _thread.submit(work).result()
