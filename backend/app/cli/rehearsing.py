"""`neoforge db rehearse`: the scratch database, and what is said of it."""

import asyncio
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from sqlalchemy.engine import make_url

from app.cli.copying import Progress, database_url
from app.cli.faults import DONE, FAILED
from app.core.config import settings
from app.core.logging import set_up
from app.core.process import CannotRun
from app.tools.copying import ends
from app.tools.copying.postgresql import on_server
from app.tools.rehearsing import Rehearsal, rehearse


def run(source: str, target: str | None) -> int:
    """The exit code: 0 when every step went well."""
    set_up("command")
    read = database_url(source, "--from")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))  # so that the scratch database goes
    return asyncio.run(_run(read, database_url(target, "--to") if target else None))


async def _run(source: str, target: str | None) -> int:
    progress = Progress()
    async with _scratch(source, target) as scratch:
        seen = await rehearse(source, scratch, progress)
    progress.end()
    for line in _lines(seen):
        click.echo(line)
    return DONE


@asynccontextmanager
async def _scratch(source: str, target: str | None) -> AsyncIterator[str]:
    """An empty database of the source's kind, which is gone afterwards; `target` itself, where one is named."""
    if target is not None:
        yield target
    elif ends.sqlite_file(source) is not None:
        with TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / 'rehearsal.db'}"
    else:
        server = settings.migration_database_url
        if ends.sqlite_file(server) is not None:
            raise CannotRun("name an empty PostgreSQL database with --to, or a server to make one on by DATABASE_URL")
        name = f"neoforge_rehearsal_{secrets.token_hex(4)}"
        await on_server(server, f'CREATE DATABASE "{name}"')
        try:
            yield make_url(server).set(database=name).render_as_string(hide_password=False)
        finally:  # a migration that was stopped may stand in it
            await on_server(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _lines(seen: Rehearsal) -> list[str]:
    said = [f"{seen.rows:,} rows copied in {seen.copied_seconds:.1f} s, masked"]
    for step in seen.steps:
        locks = ", ".join(f"{table} {mode}" for table, mode in step.locks.items()) or "none that others wait for"
        said.append(f"{step.name:12} {step.seconds:8.2f} s  locks until its end: {locks}")
    lost = f"rows are others after up and down in: {', '.join(seen.lost)}" if seen.lost else "up and down lost nothing"
    return [*said, lost]
