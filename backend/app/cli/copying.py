"""Copying a database, with its progress on the error stream where that is a terminal."""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from app.cli.faults import DONE, FAILED
from app.core.config import settings
from app.core.logging import one_line, set_up
from app.tools.copying import ends, masks
from app.tools.copying.copy import Differs, How, copy, survey
from app.tools.copying.postgresql import place
from app.tools.copying.quarantine import new_file
from app.tools.copying.report import Report

EVERY = 0.2  # seconds between two looks at the progress
COPY = 1.5  # times as long as a dry run, at a million accounts and as many sessions


class Progress:
    """One line that is written over: the table, its rows, how many a second, the seconds left."""

    def __init__(self) -> None:
        self._table, self._began, self._shown = "", 0.0, 0.0

    def __call__(self, table: str, done: int, number: int) -> None:
        now = time.monotonic()
        if table != self._table:
            self._table, self._began, self._shown = table, now, 0.0
        if not sys.stderr.isatty() or (now - self._shown < EVERY and done < number):
            return
        self._shown = now
        rate = done / max(now - self._began, 1e-3)
        left = f"{(number - done) / rate:,.0f} s left" if rate else ""
        click.echo(f"\r\x1b[K{table}  {done:,} of {number:,}  {rate:,.0f} rows/s  {left}", nl=False, err=True)

    def end(self) -> None:
        if sys.stderr.isatty():
            click.echo("\r\x1b[K", nl=False, err=True)


def run(source: str, target: str | None, how: How, *, dry_run: bool, report: Path | None) -> int:
    """The exit code: 0 when all was copied and proven, and for a dry run when all would fit."""
    set_up("command")
    read, written = (
        database_url(source, "--from"),
        database_url(target or settings.migration_database_url, "--to, or else DATABASE_URL,"),
    )
    progress = Progress()
    if dry_run:
        if report is not None or how.quarantine is not None:
            raise click.UsageError("--dry-run writes nothing: neither --report nor --quarantine.")
        return asyncio.run(_dry(read, progress, mask=how.mask))
    if _place(read) == _place(written):
        raise click.UsageError("--from and --to name one and the same database.")
    with _reporting(report) as file:
        try:
            done = asyncio.run(copy(read, written, progress, how))
        except Differs as differs:
            done = differs.report
        _say(done, progress, file)
    return DONE if done.is_proven else FAILED


@contextmanager
def _reporting(report: Path | None) -> Iterator[TextIO | None]:
    """The report's file, made before anything else is; it is gone again where there is nothing to report."""
    if report is None:
        yield None
        return
    with new_file(report) as file:
        try:
            yield file
        except BaseException:
            report.unlink()
            raise


async def _dry(url: str, progress: Progress, *, mask: bool) -> int:
    began = time.perf_counter()
    proofs, unfit = await survey(url, progress, mask=mask)
    seconds = time.perf_counter() - began
    progress.end()
    for proof in proofs:
        click.echo(f"{proof.lines.table.name:18} {proof.rows:>12,} rows {proof.size:>15,} bytes")
    for one in unfit:
        click.echo(one_line(f"{one.table} {one.key}: {one.reason}"))
    rows, size = sum(one.rows for one in proofs), sum(one.size for one in proofs)
    click.echo(
        f"{rows:,} rows, {size:,} bytes, read in {seconds:.1f} s; a copy takes about {seconds * COPY:.0f} s;"
        f" {len(unfit):,} reasons why rows would not fit"
    )
    return FAILED if unfit else DONE


def _say(done: Report, progress: Progress, report: TextIO | None) -> None:
    progress.end()
    for line in done.lines():
        click.echo(line)
    if done.is_masked and done.is_proven:
        click.echo(f"every account's password is now {masks.password()}")
    if report is not None:
        report.write(done.model_dump_json(indent=2) + "\n")


def database_url(given: str, what: str) -> str:
    """`given`, which the option `what` named.

    Raises:
        UsageError: it is none of SQLite or PostgreSQL.
    """
    try:
        parsed = make_url(given)
        _ = parsed.port
    except (ArgumentError, ValueError):
        parsed = None
    kind = parsed.get_backend_name() if parsed else ""
    if (
        parsed is None
        or kind not in ("sqlite", "postgresql")
        or (kind == "sqlite" and parsed.database in (None, "", ":memory:"))
    ):
        raise click.UsageError(f"{what} is the URL of a database: sqlite:///app.db or postgresql://user@host/name.")
    return given


def _place(url: str) -> tuple[object, ...]:
    """What two URLs of one database have in common."""
    file = ends.sqlite_file(url)
    if file is None:
        return (place(url).replace("localhost", "127.0.0.1"),)
    try:
        found = file.stat()
    except OSError:
        return (file.resolve(),)
    return found.st_dev, found.st_ino
