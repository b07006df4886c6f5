"""Copying a database, with its progress on the error stream where that is a terminal."""

import sys
import time
from pathlib import Path

import click
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from app.cli.faults import DONE, FAILED
from app.core.config import settings
from app.core.logging import one_line, set_up
from app.tools.copying.copy import Differs, copy, survey
from app.tools.copying.report import Report

EVERY = 0.2  # seconds between two looks at the progress


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


def run(source: str, target: str | None, *, dry_run: bool, quarantine: Path | None, report: Path | None) -> int:
    """The exit code: 0 when all was copied and proven, and for a dry run when all would fit."""
    set_up("command")
    file = _sqlite(source)
    progress = Progress()
    if dry_run:
        return _dry(file, progress)
    url = _postgresql(target or settings.migration_database_url)
    try:
        done = copy(file, url, progress, quarantine=quarantine)
    except Differs as differs:
        _say(differs.report, progress, report)
        return FAILED
    _say(done, progress, report)
    return DONE


def _dry(file: Path, progress: Progress) -> int:
    found, unfit = survey(file, progress)
    progress.end()
    for proof in found.proofs:
        click.echo(f"{proof.lines.table.name:18} {proof.rows:>12,} rows {proof.size:>15,} bytes")
    for one in unfit:
        click.echo(one_line(f"{one.table} {one.key}: {one.reason}"))
    click.echo(f"read in {found.seconds:.1f} s; {len(unfit):,} reasons why rows would not fit")
    return FAILED if unfit else DONE


def _say(done: Report, progress: Progress, report: Path | None) -> None:
    progress.end()
    for line in done.lines():
        click.echo(line)
    if report is not None:
        report.write_text(done.model_dump_json(indent=2) + "\n")


def _sqlite(url: str) -> Path:
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or not parsed.drivername.startswith("sqlite") or not parsed.database:
        raise click.UsageError("--from is the URL of a SQLite database, as sqlite:///app.db.")
    return Path(parsed.database)


def _postgresql(url: str) -> str:
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or not parsed.drivername.startswith("postgresql"):
        raise click.UsageError("--to, or else DATABASE_URL, is the URL of a PostgreSQL database.")
    return url
