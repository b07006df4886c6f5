"""An audit in a database of its own, to be tampered with as the database's owner can."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.context import Origin, origin
from app.core.db import build_engine
from app.core.sql import is_sqlite
from app.models import Action
from app.services import audit, sealing
from app.services.audit_check import Report, verify
from tests.databases import copy_template
from tests.services import Services

TRIGGERS = {
    "audit_events": ("audit_events_no_update", "audit_events_no_delete", "audit_events_no_insert"),
    "audit_seals": ("audit_seals_no_update", "audit_seals_no_delete", "audit_seals_no_insert"),
}


class Audit:
    """What the application, the sealer and the tamperer do, each on a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = build_engine(url, pool_size=4)
        self.me = uuid4()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(self.engine, expire_on_commit=False) as db:
            yield db

    async def record(self, number: int, *, actor: UUID | None = None) -> None:
        """So many events, each with where it came from."""
        came = origin.set(Origin("request-1", "192.0.2.7", "Mozilla/5.0"))
        try:
            async with self.session() as db:
                for _ in range(number):
                    await audit.record(db, Action.session_opened, actor=actor, target=uuid4())
                await db.commit()
        finally:
            origin.reset(came)

    async def seal(self, me: UUID | None = None, most: int = 500) -> int | None:
        """Seal one batch; how many, or None when another holds the lease."""
        async with self.session() as db:
            batch = await sealing.seal(db, me or self.me, most=most)
            await db.commit()
        return None if batch is None else len(batch.seals)

    async def sealed(self, number: int) -> None:
        """So many events more, sealed."""
        await self.record(number)
        while await self.seal():
            pass

    async def is_sealed(self, number: int) -> bool:
        """Whether there are so many seals."""
        return (await self.execute("SELECT count(*) FROM audit_seals"))[0][0] == number

    async def newest(self) -> tuple[int, bytes]:
        async with self.session() as db:
            sequence, mac = str(await sealing.newest(db)).split(":")
        return int(sequence), bytes.fromhex(mac)

    async def verify(self, known: tuple[int, bytes] | None = None, *old_secrets: bytes) -> Report:
        async with self.session() as db:
            return await verify(db, known=known, old_secrets=old_secrets)

    async def found(self) -> set[tuple[str, int | None]]:
        """The faults, by kind and seal."""
        return {(fault.kind, fault.sequence) for fault in (await self.verify()).faults}

    async def event(self, sequence: int) -> UUID:
        """The event of a seal."""
        return UUID(str((await self.execute(f"SELECT event_id FROM audit_seals WHERE sequence = {sequence}"))[0][0]))

    async def execute(self, *statements: str) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = []
        async with self.engine.begin() as connection:
            for statement in statements:
                result = await connection.execute(text(statement))
                rows = [tuple(row) for row in result] if result.returns_rows else []
        return rows

    async def tamper(self, *statements: str) -> None:
        """As the owner of the database: without triggers. `{3}` in a statement is the event of seal 3, as a literal."""
        off = "DROP TRIGGER IF EXISTS {1}" if is_sqlite(self.engine) else "ALTER TABLE {0} DISABLE TRIGGER {0}_refuse"
        drop = [off.format(table, trigger) for table, triggers in TRIGGERS.items() for trigger in triggers]
        rows = await self.execute("SELECT sequence, event_id FROM audit_seals ORDER BY sequence")
        ids = ["", *(f"'{event}'" for _, event in rows)]
        await self.execute(*drop)
        await self.execute(*(statement.format(*ids) for statement in statements))


_numbers = count(1)


@pytest.fixture
async def own(services: Services, request: pytest.FixtureRequest) -> AsyncIterator[Audit]:
    """An audit in a database of its own."""
    worker = getattr(request.config, "workerinput", {"workerid": "main"})["workerid"]
    name = f"audit-{worker}-{next(_numbers)}"
    copy_template(services, name)
    audit = Audit(services.database(name))
    yield audit
    await audit.engine.dispose()
