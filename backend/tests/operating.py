"""What an operator has at hand: the commands and the processes, on a database and a Redis prefix of their own."""

import asyncio
import json
from collections.abc import AsyncIterator
from subprocess import CompletedProcess
from typing import Any
from uuid import UUID

import pytest
from sqlmodel import select

from app.models import BackgroundTask, Heartbeat, TaskType
from app.services import tasks
from tests.audits import Audit, own
from tests.commands import neoforge
from tests.processes import tail
from tests.services import Services
from tests.stack import Process, Server
from tests.waiting import eventually

__all__ = ["operator", "own"]
NOBODY = "00000000-0000-7000-8000-000000000000"
"""No account has this id: a welcome mail to it is carried out at once, and sends nothing."""


class Operator:
    """Runs `neoforge …` beside the processes that it started."""

    def __init__(self, services: Services, audit: Audit) -> None:
        self._services, self._started = services, list[Process]()
        self.audit = audit
        name = audit.url.rpartition("/")[2]
        self.env = {"DATABASE_URL": audit.url, "REDIS_PREFIX": services.redis_prefix(f"own-{name}")}

    async def __call__(self, *arguments: str, code: int = 0, **env: str) -> CompletedProcess[str]:
        done = await asyncio.to_thread(neoforge, *arguments, **{**self.env, **env})
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    async def lines(self, *arguments: str, **env: str) -> list[dict[str, Any]]:
        """What a command prints with --json."""
        return [json.loads(line) for line in (await self(*arguments, "--json", **env)).stdout.splitlines()]

    async def start(self, *arguments: str, **env: str) -> Process:
        """Start a worker or a scheduler, and wait until it says that it lives."""
        before = await self._alive()
        self._started.append(Process(self._services, arguments, {**self.env, **env}))
        process = self._started[-1]

        async def beats() -> bool:
            process.assert_runs()
            return bool(await self._alive() - before)

        try:
            await eventually(beats, within=60)
        except AssertionError:
            raise RuntimeError(f"{arguments} does not get ready:\n{tail(process.log)}") from None
        return process

    async def _alive(self) -> set[UUID]:
        async with self.audit.session() as db:
            return set((await db.exec(select(Heartbeat.id))).all())

    async def serve(self, **env: str) -> Server:
        self._started.append(server := Server(self._services, (), {**self.env, **env}))
        return await server.ready()

    async def promise(self, *, queue: str = "default", priority: int = 5, **values: object) -> UUID:
        """A task that is carried out at once, in any queue."""
        async with self.audit.session() as db:
            made = await tasks.enqueue(db, TaskType.welcome_email, priority=priority, user_id=NOBODY)
            made.queue = queue  # this process knows the default queue alone
            for name, value in values.items():
                setattr(made, name, value)
            await db.commit()
            return made.id

    async def row(self, task_id: UUID) -> BackgroundTask:
        async with self.audit.session() as db:
            return await db.get_one(BackgroundTask, task_id)

    async def until(self, task_id: UUID, *states: str) -> BackgroundTask:
        """The row once it is in one of these states."""

        async def there() -> BackgroundTask | None:
            row = await self.row(task_id)
            return row if row.status in states else None

        found: BackgroundTask = await eventually(there, within=60)
        return found

    async def audited(self) -> list[tuple[str, str]]:
        """What the command line did, and to what."""
        rows = await self.audit.execute("SELECT action, target_id FROM audit_events WHERE actor_id IS NULL ORDER BY id")
        return [(str(action), str(target)) for action, target in rows]

    def stop(self) -> None:
        for process in reversed(self._started):
            process.stop()


@pytest.fixture
async def operator(services: Services, own: Audit) -> AsyncIterator[Operator]:
    """An operator with a database of their own."""
    found = Operator(services, own)
    yield found
    await asyncio.to_thread(found.stop)


def told(failed: CompletedProcess[str]) -> str:
    """The one line that says what went wrong; what is above it is the log."""
    *_, last = failed.stderr.splitlines()
    assert last.startswith("neoforge: ")
    assert "Traceback" not in failed.stderr
    return last
