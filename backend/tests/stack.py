"""Processes of the product, started as an operator starts them, on the stack of this test process."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import count
from typing import Self

from httpx2 import AsyncClient, TransportError
from sqlalchemy import text
from sqlmodel import update

from app.core.db import new_session
from app.core.sql import db_now
from app.models import TaskSchedule
from tests.environment import PUBLIC_URL
from tests.processes import end, free_port, launch, tail
from tests.services import BACKEND, Services
from tests.waiting import eventually

_numbers = count(1)


class Process:
    """`neoforge <arguments>` with this process's environment and `env` over it."""

    def __init__(self, services: Services, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        self._command = [sys.executable, "-m", "app.cli", *arguments]
        self._env = {**os.environ, **env}
        name = os.environ["REDIS_PREFIX"].rstrip(":").rpartition("-")[2]
        self.log = services.log(f"{arguments[0]}-{name}-{next(_numbers)}")
        self.process: subprocess.Popen[bytes] = self._launch()

    def _launch(self) -> subprocess.Popen[bytes]:
        return launch(self._command, self.log, env=self._env, cwd=BACKEND, death_signal=signal.SIGTERM)

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def assert_runs(self) -> None:
        code = self.process.poll()
        if code is not None:
            raise RuntimeError(f"{' '.join(self._command)} ended with {code}:\n{tail(self.log)}")

    def kill(self) -> None:
        """As a crash would: no handler runs."""
        self.process.kill()
        self.process.wait()

    def start_again(self) -> None:
        self.stop()
        self.process = self._launch()

    def stop(self) -> int:
        """SIGTERM, then wait. Returns the exit code."""
        return end(self.process)


class Server(Process):
    """`neoforge serve` on a port of its own, at `url`."""

    def __init__(self, services: Services, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        own = {"HOST": "127.0.0.1", "PORT": str(port), "PUBLIC_URL": PUBLIC_URL}
        super().__init__(services, ["serve", *arguments], {**own, **env})

    def _launch(self) -> subprocess.Popen[bytes]:
        self._env.pop("COVERAGE_PROCESS_CONFIG", None)  # it starts slower with it; the test process runs the same lines
        return super()._launch()

    async def ready(self) -> Self:
        async with AsyncClient(base_url=self.url, trust_env=False) as client:

            async def healthy() -> bool:
                self.assert_runs()
                try:
                    return (await client.get("/api/v1/health")).status_code == 200
                except TransportError:
                    return False

            try:
                await eventually(healthy, within=30)
            except AssertionError:
                raise RuntimeError(f"{self.url} does not become healthy:\n{tail(self.log)}") from None
        return self


class Worker:
    """A Celery worker and a scheduler, which rings it."""

    def __init__(self, services: Services) -> None:
        self.worker = Process(services, ["worker"], {})
        self.scheduler = Process(services, ["scheduler"], {})

    async def ready(self) -> None:
        """Both say that they live, by their rows of `heartbeats`."""

        async def beating() -> bool:
            for process in (self.worker, self.scheduler):
                process.assert_runs()
            async with new_session(read_only=True) as db:
                roles = (await db.exec(text("SELECT DISTINCT role FROM heartbeats"))).all()  # type: ignore[call-overload] # typed for select() only
            return {role for (role,) in roles} >= {"worker", "scheduler"}

        try:
            await eventually(beating, within=60)
        except AssertionError:
            raise RuntimeError(f"the worker does not get ready:\n{self.report()}") from None
        await self.put_off_schedules()

    async def put_off_schedules(self) -> None:
        """Have nothing periodic become due while tests run: its rows would stand among those that they count."""

        async def put_off() -> bool:
            async with new_session() as db:
                later = update(TaskSchedule).values(due_at=db_now(timedelta(days=1)))
                changed = (await db.exec(later)).rowcount
                await db.commit()
            return changed > 0

        await eventually(put_off, within=60)

    def report(self) -> str:
        """The ends of both logs."""
        return "\n".join(f"--- {process.log.name}\n{tail(process.log)}" for process in (self.worker, self.scheduler))

    def stop(self) -> None:
        for process in (self.scheduler, self.worker):
            process.stop()
