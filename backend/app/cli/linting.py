"""Looking at what migrations would do to a PostgreSQL that is in use."""

from collections.abc import Sequence

import click

from app.cli.faults import DONE, FAILED
from app.tools import linting, squawk


def run(revisions: Sequence[str], since: str | None, *, with_squawk: bool) -> int:
    """The exit code: 0 when nothing was found that the migration does not accept with a reason."""
    if revisions and since:
        raise click.UsageError("name revisions, or --since one.")
    there = squawk.program() is not None
    if with_squawk and not there:
        click.echo("squawk is not installed (it comes with the development environment)", err=True)
        return FAILED
    named = linting.chosen(revisions, since)
    found = linting.lint(named)
    for one in found:
        click.echo(one.words)
    rules = "our rules and squawk's" if there else "our rules alone: squawk is not installed"
    click.echo(f"{len(named)} looked at by {rules}; {len(found)} found", err=True)
    return FAILED if found else DONE
