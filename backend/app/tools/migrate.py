"""Alembic from Python, for the commands and for readiness. Synchronous: it has a thread and a loop of its own."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from traceback import walk_tb

import alembic.command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DBAPIError

from app.core.config import settings
from app.core.db_errors import is_unavailable
from app.core.process import CannotRun
from app.tools.backups import files

BACKEND = Path(__file__).resolve().parents[2]

_thread = ThreadPoolExecutor(1, "migrate")


Done = Callable[[Connection, str], None]
"""Told the connection and the revision of each step, when it is about to be committed."""


def config(url: str | None = None, done: Done | None = None) -> Config:
    """Alembic's configuration, for the database at `url` (default: MIGRATION_DATABASE_URL)."""
    made = Config(str(BACKEND / "alembic.ini"))
    made.attributes.update(url=url or settings.migration_database_url, done=done)
    return made


def upgrade(url: str | None = None, revision: str = "head", done: Done | None = None) -> None:
    """Bring the database to `revision`. Safe to call from several processes at once.

    Raises:
        CommandError: a step failed, and is undone.
    """
    _make_private(url or settings.migration_database_url)
    apart(lambda: alembic.command.upgrade(config(url, done), revision))


def _make_private(url: str) -> None:
    """A new file of SQLite is its owner's alone. What is wrong with its place, SQLite tells."""
    parsed = make_url(url)
    if parsed.drivername.startswith("sqlite") and parsed.database not in (None, "", ":memory:"):
        files.make_private(Path(parsed.database or ""))


def downgrade(url: str | None = None, revision: str = "-1", done: Done | None = None) -> None:
    """Take the database back to `revision`."""
    apart(lambda: alembic.command.downgrade(config(url, done), revision))


def check(url: str | None = None) -> None:
    """Raise `alembic.util.CommandError` when the models and the migrated database differ."""
    apart(lambda: alembic.command.check(config(url)))


def head() -> str:
    """The newest revision that this code knows."""
    found = ScriptDirectory.from_config(config()).get_current_head()
    if found is None:
        raise RuntimeError(f"no migrations in {BACKEND / 'alembic'}")
    return found


def known() -> set[str]:
    """Every revision that this code knows."""
    return {script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()}


def apart(work: Callable[[], None]) -> None:
    """Run `work` in a thread, since Alembic's environment starts an event loop and the caller may stand in one."""
    try:
        _thread.submit(work).result()
    except DBAPIError as error:
        if error.statement is None or error.connection_invalidated:  # the database cannot be used
            raise
        raise CommandError(f"a migration failed, and is undone: {error.orig}") from error
    except (CommandError, CannotRun):
        raise
    except Exception as error:
        where = raised_in(error)
        if not where or is_unavailable(error):
            raise
        raise CommandError(f"{where}, and is undone: {type(error).__name__}: {error}") from error


def raised_in(error: BaseException) -> str:
    """Which migration raised it, and where; empty when none did."""
    found = ""
    for frame, line in walk_tb(error.__traceback__):
        file, revision = Path(frame.f_code.co_filename), frame.f_globals.get("revision")
        if file.parent == BACKEND / "alembic" / "versions" and revision:
            found = f"migration {revision} failed at {file.name}:{line}"
    return found
