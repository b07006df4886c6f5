"""Writing a migration."""

import click

from app.tools import linting, revising


def write(words: str, *, empty: bool, destructive: bool, configured: bool) -> None:
    """Write it, and say what has to be looked at."""
    file, formatted = revising.write(words, empty=empty, may_destroy=destructive, configured=configured)
    click.echo(f"wrote {file}")
    if not formatted:
        click.echo("ruff is not installed: `make format` puts it into the project's form", err=True)
    for finding in linting.lint([linting.revision_of(file)]):
        click.echo(f"to look at: {finding.words}", err=True)
