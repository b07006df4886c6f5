"""The database's own command line."""

import os
import shutil
import sys
from typing import NoReturn

from app.cli.backups import sqlite_file
from app.core.config import settings
from app.core.process import CannotRun
from app.tools import postgresql

BUSY = 15_000  # milliseconds that it waits for who writes
PYTHON_HAS_IT = (3, 12)  # from then on the standard library has a shell of its own


def run() -> NoReturn:
    """Become psql or sqlite3 on DATABASE_URL.

    Raises:
        CannotRun: there is no such program, or no such database.
    """
    file = sqlite_file(settings.database_url)
    if file is None:
        name, environment = postgresql.told(settings.database_url)
        program = str(postgresql.program("psql", newest=True))
        stops = [] if sys.stdin.isatty() else ["--set=ON_ERROR_STOP=1"]  # and its exit code says so
        os.execvpe(program, [program, *stops, f"--dbname={name}"], environment)  # noqa: S606 - it takes this process's place
    if not file.is_file():
        raise CannotRun(f"there is no SQLite database {file}: `neoforge db upgrade` makes it")
    found = shutil.which("sqlite3")
    if found is not None:
        arguments = [found, "-cmd", f".timeout {BUSY}", "-cmd", "PRAGMA foreign_keys = ON", str(file)]
    elif sys.version_info >= PYTHON_HAS_IT:
        arguments = [sys.executable, "-m", "sqlite3", str(file)]
    else:
        raise CannotRun("sqlite3 is not installed: install it (on Debian sqlite3), or use Python 3.12 or newer")
    os.execvp(arguments[0], arguments)  # noqa: S606 - it takes this process's place
