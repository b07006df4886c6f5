"""A rehearsal: the migrations that a database has before it, on a masked copy of it: up, down, and up again."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.core.process import CannotRun
from app.tools import migrate
from app.tools.copying import ends
from app.tools.copying.copy import Copying, How, Tell
from app.tools.copying.fitting import told
from app.tools.copying.lines import Lines
from app.tools.copying.proof import Proof
from app.tools.copying.reflected import tables_of

_LOCKS = sa.text("""
    SELECT DISTINCT c.relname::text, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.pid = pg_backend_pid() AND l.granted AND c.relkind IN ('r', 'p') AND c.relname <> 'alembic_version'
    AND c.relnamespace = ANY (SELECT oid FROM pg_namespace WHERE nspname = ANY (current_schemas(false)))
    AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') ORDER BY 1, 2
""")
"""What keeps others from writing, the last one from reading too."""


@dataclass(frozen=True)
class Step:
    """One revision, up or down."""

    name: str
    seconds: float
    locks: dict[str, str]
    """Tables that were there before, and how each was locked until the end of the step."""


@dataclass
class Rehearsal:
    """What was seen."""

    rows: int = 0
    copied_seconds: float = 0.0
    steps: list[Step] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Tables whose rows were others after up and down."""


async def rehearse(source_url: str, scratch: str, tell: Tell) -> Rehearsal:
    """Copy the database at `source_url` to the empty one at `scratch`, masked, and migrate that.

    Raises:
        CannotRun: the source's revision is the newest already, or is not known; or `scratch` has a table.
    """
    seen = Rehearsal()
    async with told(), ends.source(source_url) as source:
        revision = await source.revision()
        if not revision or revision not in migrate.known():
            raise CannotRun(f"the source is at revision {revision or 'none'}, which this code does not know")
        if revision == migrate.head():
            raise CannotRun(f"the source is at the newest revision, {revision}: there is nothing to rehearse")
        async with ends.target(scratch) as target:
            if await target.revision() != "":
                raise CannotRun("the database for the rehearsal is not empty: it is left as it is")
        migrate.upgrade(scratch, revision)
        tables = await tables_of(scratch)
        began = time.perf_counter()
        async with ends.target(scratch) as target:
            copying = Copying(source, target, tell, How(mask=True), 0)
            async with target.transaction():
                await copying.step(tables)
        seen.copied_seconds = time.perf_counter() - began
        seen.rows = sum(one.rows for one in copying.report().tables)
    before = await _proofs(scratch, tables)
    _run(scratch, "head", seen.steps, tables)
    _run(scratch, revision, seen.steps, tables)
    after = await _proofs(scratch, tables)
    seen.lost = [table.table.name for table in tables if before[table.table.name] != after[table.table.name]]
    _run(scratch, "head", seen.steps, tables)
    return seen


def _run(url: str, revision: str, steps: list[Step], tables: Sequence[Lines]) -> None:
    began, there = time.perf_counter(), {one.table.name for one in tables}
    way = "up" if revision == "head" else "down"

    def done(connection: Connection, name: str) -> None:
        """A step is about to be committed."""
        nonlocal began
        held = connection.execute(_LOCKS) if connection.dialect.name == "postgresql" else ()
        locks = {str(table): str(mode) for table, mode in held if table in there}
        now = time.perf_counter()
        steps.append(Step(f"{name} {way}", now - began, locks))
        began = now

    (migrate.upgrade if way == "up" else migrate.downgrade)(url, revision, done)


async def _proofs(url: str, tables: Sequence[Lines]) -> dict[str, str]:
    found: dict[str, str] = {}
    async with ends.target(url) as rows:
        for table in tables:
            proof = Proof(lines=table)
            async for lines in rows.lines(table):
                proof.add(lines)
            found[table.table.name] = proof.checksum
    return found
