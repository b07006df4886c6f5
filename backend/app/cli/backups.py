"""Backing a database up, and restoring it."""

from pathlib import Path

import click
from sqlalchemy.engine import make_url

from app.core.config import settings
from app.core.process import CannotRun
from app.core.secrets import private_folder
from app.tools import migrate
from app.tools.backups import files, postgresql, sqlite
from app.tools.digest import Digest


def backup(file: Path) -> None:
    """Write the configured database into the new file `file`."""
    url = settings.migration_database_url
    database = sqlite_file(url)
    revision = sqlite.backup(database, file) if database else postgresql.backup(url, file)
    click.echo(f"{file}: revision {revision or 'none'}, {file.stat().st_size:,} bytes")


def restore(file: Path, *, replace: bool, privileges: bool) -> None:
    """Put what `file` has into the configured database."""
    url = settings.migration_database_url
    database, kind = sqlite_file(url), files.kind_of(file)
    if (kind == files.SQLITE) != (database is not None):
        names = ("SQLite", "PostgreSQL") if kind == files.SQLITE else ("PostgreSQL", "SQLite")
        raise CannotRun(f"{file} is a backup of {names[0]}, and DATABASE_URL is {names[1]}: see `neoforge db copy`")
    if database is not None:
        if settings.data_dir in database.parents:
            private_folder(database.parent)
        revision = _known(file, sqlite.look(file))
        _may_replace(replace, database.exists() and sqlite.digests(database) != {})
        done = sqlite.restore(file, database)
    else:
        archive = postgresql.archive(url, file)
        revision = _known(file, archive.revision())
        _may_replace(replace, not postgresql.is_empty(url))
        done = postgresql.restore(url, archive, privileges=privileges)
    _say(revision, done)


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite database; None for PostgreSQL."""
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.drivername.startswith("sqlite") else None


def _known(file: Path, revision: str) -> str:
    """Refuse what newer code has written."""
    if not revision:
        raise CannotRun(f"{file} has no table")
    if revision not in migrate.known():
        raise CannotRun(
            f"{file} has revision {revision}, which this version does not know: restore it with a newer one"
        )
    return revision


def _may_replace(replace: bool, has_data: bool) -> None:
    if has_data and not replace:
        raise CannotRun("the database is not empty: --replace puts the backup in the place of all that it has")


def _say(revision: str, done: dict[str, Digest]) -> None:
    rows = sum(digest.rows for digest in done.values())
    click.echo(f"restored: {len(done)} tables, {rows:,} rows, each compared")
    newest = migrate.head()
    also = "the newest" if revision == newest else f"the newest is {newest}: run `neoforge db upgrade`"
    click.echo(f"revision {revision}, {also}")
