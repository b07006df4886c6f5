"""Emptying the configured database and migrating it again. Development only."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy.engine import make_url

from app.cli.backups import sqlite_file
from app.core import tls
from app.core.config import Environment, settings
from app.core.process import CannotRun
from app.tools import migrate
from app.tools.backups import postgresql, sqlite


def run(*, yes: bool, host: str | None) -> None:
    """Do it, once it was confirmed.

    Raises:
        CannotRun: this is not development, or the database is on another machine that was not named.
    """
    if settings.environment is not Environment.development:
        raise CannotRun(f"`neoforge db reset` is for development, and ENVIRONMENT is {settings.environment}")
    url = settings.migration_database_url
    file = sqlite_file(url)
    for distant in tls.distant_hosts(url, (host,) if host else ()):
        raise CannotRun(f"the database is on {distant}, not on this machine: say --host {distant} if you mean it")
    named = str(file) if file else f"{make_url(url).database} on {make_url(url).host or 'this machine'}"
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody is here to be asked: say --yes.")
        click.confirm(f"Remove every row and table of {named}?", abort=True)
    if file is None:
        postgresql.empty(url)
    else:
        with _nobody_else(file):
            sqlite.empty(file)
    migrate.upgrade(url)
    click.echo(f"{named}: empty, at revision {migrate.head()}")


@contextmanager
def _nobody_else(file: Path) -> Iterator[None]:
    """Refuse while `neoforge dev` runs on the folder of the embedded database."""
    if file.parent != settings.data_dir:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield
        return
    from app.dev.state import State

    State(settings.data_dir)  # held until this process ends
    yield
