"""Whether the models are what the migrations make, on both engines."""

import click

from app.cli.faults import DONE, FAILED
from app.core.config import settings
from app.core.config_servers import is_malformed
from app.tools import differences


def run(postgresql: str | None) -> int:
    """The exit code: 0 when they are, on every engine that was looked at."""
    url = postgresql or settings.migration_database_url
    if postgresql and (not postgresql.startswith(("postgresql://", "postgres://")) or is_malformed(postgresql)):
        raise click.UsageError("--postgresql is a URL, as postgresql://localhost/postgres.")
    click.echo(f"not looked at: {differences.NOT_COMPARED}")
    with differences.on_sqlite() as empty:
        same = _say("SQLite", differences.found(empty))
    if url.startswith("sqlite"):
        click.echo("PostgreSQL: not looked at: DATABASE_URL is SQLite, and --postgresql names no server")
    else:
        with differences.on_postgresql(url) as empty:
            same &= _say("PostgreSQL", differences.found(empty))
    return DONE if same else FAILED


def _say(engine: str, found: list[str]) -> bool:
    for one in found or ["the models are what the migrations make"]:
        click.echo(f"{engine}: {one}")
    return not found
