"""The copy itself: what does not fit is told first, then all is loaded, compared and committed, or nothing is."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.clock import utc_now
from app.core.process import CannotRun
from app.tools import migrate
from app.tools.copying import ends
from app.tools.copying.ahead import ahead, in_thread
from app.tools.copying.ends import Source, Target
from app.tools.copying.fitting import at_head, told, unknown
from app.tools.copying.lines import SEEDED, Lines, tables
from app.tools.copying.masks import Masks
from app.tools.copying.proof import Proof
from app.tools.copying.quarantine import set_aside
from app.tools.copying.reflected import tables_of
from app.tools.copying.report import CopiedTable, Report
from app.tools.copying.unfit import Unfit

Tell = Callable[[str, int, int], None]
"""Told a table, how many of its rows are done, and how many there are."""


class Differs(Exception):
    """The target did not have what was read. Nothing was committed but, with `resume`, the tables before."""

    def __init__(self, report: Report) -> None:
        super().__init__("what stands in the target is not what was read")
        self.report = report


@dataclass(frozen=True)
class How:
    """What is asked of a copy."""

    quarantine: Path | None = None
    """A new file for what does not fit and for what refers to it, a JSON object a line."""
    resume: bool = False
    """Commit table by table, and go on after what such a copy has left."""
    mask: bool = False
    """Put fakes in place of what is about persons."""
    leave_unknown: bool = False
    """Copy although the source has tables or columns that the models do not know: these stay behind."""


async def survey(url: str, tell: Tell, *, mask: bool = False) -> tuple[list[Proof], list[Unfit]]:
    """Read all of it, and write nothing: what a copy would copy, and what would not fit.

    Raises:
        CannotRun: the source cannot be read, or its schema is another.
    """
    async with told(), ends.source(url) as source:
        await at_head(source)
        unfit = [one async for one in unknown(source)] + [one async for one in source.unfit()]
        left_out = {one async for one, _ in source.leave_out()} if unfit else set()
        read = _Reading(source, tell, mask=mask)
        for table in tables():
            async for _ in read.lines(table):
                pass
    return list(read.proofs.values()), [*unfit, *sorted(left_out - set(unfit), key=str)]


async def copy(url: str, to: str, tell: Tell, how: How | None = None) -> Report:
    """Copy the database at `url` to the one at `to`, which is empty, or is what an earlier copy has left.

    Raises:
        CannotRun: one of the two is not what it has to be; or a row does not fit, and there is no quarantine.
        Differs: see there.
    """
    how = how or How()
    async with told(), ends.source(url) as source:
        await at_head(source)
        if not how.leave_unknown:
            async for one in unknown(source):
                raise CannotRun(f"{one.table}: {one.reason}; --leave-unknown copies all else")
        left_out = await set_aside(source, how.quarantine)
        async with ends.target(to) as target:
            await _may_be_filled(target, to)
        migrate.upgrade(to)
        async with ends.target(to) as target:
            copying = Copying(source, target, tell, how, left_out)
            # The one that is there in every database goes last: by then it is known that the others are the source's.
            order = sorted(tables(), key=lambda one: one.table.name == SEEDED)
            for step in [[table] for table in order] if how.resume else [order]:
                async with target.transaction():
                    await copying.step(step)
    return copying.report()


async def _may_be_filled(target: Target, url: str) -> None:
    """Raise `CannotRun` unless the target has no table, or is migrated, as far as a copy that was killed had come."""
    found, head = await target.revision(), migrate.head()
    if found in ("", head):
        return
    if found not in migrate.known():
        raise CannotRun(f"the target is not empty: it is at revision {found or 'none'}, not {head}")
    for table in await tables_of(url):
        if table.table.name != SEEDED and await target.number(table):
            raise CannotRun(f"the target is not empty: it is at revision {found}, and {table.table.name} has rows")


class _Reading:
    """The source's rows, masked where that is asked for, and counted on their way."""

    def __init__(self, source: Source, tell: Tell, *, mask: bool) -> None:
        self._source, self._tell, self._mask = source, tell, mask
        self.proofs: dict[str, Proof] = {}

    async def lines(self, table: Lines) -> AsyncIterator[Sequence[bytes]]:
        name, masks = table.table.name, Masks(table)
        proof = self.proofs[name] = Proof(lines=table)
        if self._mask and masks.is_left_out:
            return
        number = await self._source.number(table)
        async for read in self._source.lines(table):
            lines = await in_thread(_counted, read, proof, masks if self._mask else None)
            self._tell(name, proof.rows, number)
            yield lines
        self._tell(name, proof.rows, proof.rows)


def _counted(lines: list[bytes], proof: Proof, masks: Masks | None) -> list[bytes]:
    said = masks.put(lines) if masks else lines
    proof.add(said)
    return said


class Copying:
    """A copy under way."""

    def __init__(self, source: Source, target: Target, tell: Tell, how: How, left_out: int) -> None:
        self._source, self._target, self._how, self._left_out = source, target, how, left_out
        self._reading = _Reading(source, tell, mask=how.mask)
        self._began = utc_now()
        self._loading = self._proving = 0.0
        self._copied: list[CopiedTable] = []

    async def step(self, step: Sequence[Lines]) -> None:
        """Load some tables, and compare them."""
        started = time.perf_counter()
        await self._target.lock(step)
        there = [table for table in step if table.table.name != SEEDED and await self._target.number(table)]
        if there and not self._how.resume:
            raise CannotRun(f"the target is not empty: {there[0].table.name} has rows")
        for table in there:
            async for _ in self._reading.lines(table):
                pass
        empty = [table for table in step if table not in there]
        if empty:
            apart = await self._target.take_apart(empty)
            for table in empty:
                await self._target.empty(table)
                await self._target.fill(table, ahead(self._reading.lines(table)))
            given = {table.table.name: await self._source.high_water(table) for table in empty}
            await self._target.put_together(apart, empty, given)
        loaded = time.perf_counter()
        for table in step:
            await self._compare(table, was_there=table in there)
        self._loading += loaded - started
        self._proving += time.perf_counter() - loaded
        if not all(one.is_proven for one in self._copied):
            raise Differs(self.report())

    async def _compare(self, table: Lines, *, was_there: bool) -> None:
        read, found = self._reading.proofs[table.table.name], Proof(lines=table)
        async for lines in self._target.lines(table):
            found.add(lines)
        wanted = await self._source.filled(table)
        if self._how.mask:
            wanted = Masks(table).filled(wanted)
        one = CopiedTable(
            table=table.table.name,
            rows=found.rows,
            bytes=read.size,
            source=read.checksum,
            target=found.checksum,
            is_filled_alike=await self._target.filled(table) == wanted,
        )
        if was_there and not one.is_proven:
            raise CannotRun(f"the target is not empty: {one.table} has rows that are not the source's")
        self._copied.append(one)

    def report(self) -> Report:
        return Report(
            source=self._source.name,
            target=self._target.name,
            revision=migrate.head(),
            began=self._began,
            loaded_seconds=round(self._loading, 3),
            proven_seconds=round(self._proving, 3),
            tables=self._copied,
            left_out=self._left_out,
            is_masked=self._how.mask,
            is_resumed=self._how.resume,
        )
