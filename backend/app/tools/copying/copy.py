"""The copy itself: what does not fit is told first, then all is loaded, compared and committed, or nothing is."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from app.core.clock import utc_now
from app.core.process import CannotRun
from app.tools import migrate
from app.tools.copying import target as targets
from app.tools.copying.lines import tables
from app.tools.copying.proof import Proof
from app.tools.copying.report import CopiedTable, Report
from app.tools.copying.source import Source, Unfit, snapshot

Tell = Callable[[str, int, int], None]
"""Told a table, how many of its rows are done, and how many there are."""


class Differs(Exception):
    """The target did not have what was read. Nothing was committed."""

    def __init__(self, report: Report) -> None:
        super().__init__("what stands in the target is not what was read")
        self.report = report


@dataclass(frozen=True)
class Survey:
    """What a copy would copy, table by table."""

    proofs: list[Proof]
    seconds: float


def survey(file: Path, tell: Tell) -> tuple[Survey, list[Unfit]]:
    """Read all of it, and write nothing: what there is, and what would not fit.

    Raises:
        CannotRun: the source cannot be read, or its schema is another.
    """
    began = time.perf_counter()
    with snapshot(file) as source:
        _at_head(source)
        unfit = [one for one, _ in source.unfit()]
        left_out = {one for one, _ in source.leave_out()} if unfit else set()
        proofs = []
        for table in tables():
            proofs.append(Proof(table))
            for _ in _read(source, proofs[-1], tell):
                pass
    return Survey(proofs, time.perf_counter() - began), [*unfit, *sorted(left_out - set(unfit), key=str)]


def copy(file: Path, url: str, tell: Tell, *, quarantine: Path | None = None) -> Report:
    """Copy the SQLite database `file` to the PostgreSQL database at `url`, which must be empty.

    With `quarantine`, what does not fit goes into that file, a JSON object a line, and so does what refers to it.

    Raises:
        CannotRun: one of the two is not what it has to be; or a row does not fit, and there is no quarantine.
        Differs: see there.
    """
    with snapshot(file) as source:
        _at_head(source)
        left_out = _set_aside(source, quarantine)
        asyncio.run(_may_be_filled(url))
        migrate.upgrade(url)
        return asyncio.run(_fill(source, file, url, tell, left_out))


def _at_head(source: Source) -> None:
    found, head = source.revision(), migrate.head()
    if found != head:
        raise CannotRun(f"the source is at revision {found or 'none'}, not {head}: upgrade it first")


def _set_aside(source: Source, quarantine: Path | None) -> int:
    if quarantine is None:
        unfit = next(source.unfit(), None)
        if unfit is not None:
            one = unfit[0]
            raise CannotRun(
                f"{one.table} {one.key}: {one.reason}; --dry-run tells every such row, --quarantine sets them aside"
            )
        return 0
    if quarantine.exists():
        raise CannotRun(f"{quarantine} is there already: name another file for what is left out")
    number = 0
    with quarantine.open("x") as file:
        for one, values in source.leave_out():
            file.write(one.json(row=values) + "\n")
            number += 1
    return number


async def _may_be_filled(url: str) -> None:
    """Raise `CannotRun` unless the target has no table, or is migrated as this code has it."""
    async with targets.connected(url) as target:
        found, head = await target.revision(), migrate.head()
    if found not in ("", head):
        raise CannotRun(f"the target is not empty: it is at revision {found or 'none'}, not {head}")


async def _fill(source: Source, file: Path, url: str, tell: Tell, left_out: int) -> Report:
    began, started, copied, to = utc_now(), time.perf_counter(), [], make_url(url)
    async with targets.connected(url) as target:
        await target.lock()
        apart = await target.take_apart()
        read = [Proof(table) for table in tables()]
        for proof in read:
            await target.fill(proof.lines, _read(source, proof, tell))
        await target.put_together(apart)
        loaded = time.perf_counter()
        for proof in read:
            there = Proof(proof.lines)
            await target.lines(proof.lines, there.add)
            copied.append(
                CopiedTable(
                    table=proof.lines.table.name,
                    rows=there.rows,
                    bytes=proof.size,
                    source=proof.checksum,
                    target=there.checksum,
                )
            )
        report = Report(
            source=str(file),
            target=f"{to.host or 'localhost'}:{to.port or 5432}/{to.database}",
            revision=migrate.head(),
            began=began,
            loaded_seconds=round(loaded - started, 3),
            proven_seconds=round(time.perf_counter() - loaded, 3),
            tables=copied,
            left_out=left_out,
        )
        if not report.is_proven:
            raise Differs(report)
    return report


def _read(source: Source, proof: Proof, tell: Tell) -> Iterator[Sequence[bytes]]:
    """The rows of a table, counted on their way."""
    name, number = proof.lines.table.name, source.number(proof.lines)
    for lines in source.lines(proof.lines):
        proof.add(lines)
        tell(name, proof.rows, number)
        yield lines
    tell(name, proof.rows, proof.rows)
