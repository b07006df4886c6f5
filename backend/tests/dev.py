"""A real `neoforge dev`, in a folder and on a port of its own."""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import psutil
from httpx2 import AsyncClient

from tests.processes import end, free_port, launch, tail
from tests.services import BACKEND
from tests.waiting import eventually

KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "COVERAGE_PROCESS_CONFIG")
START_WITHIN = 90.0  # seconds; far more than a start takes, since other tests run beside


class Dev:
    """`neoforge dev` as a newcomer starts it: none of the test process's settings reach it."""

    def __init__(self, folder: Path, backend: Path = BACKEND, **env: str) -> None:
        self._backend = backend
        self.data = folder / "data with a space"
        self.port = free_port()
        own = {name: value for name, value in os.environ.items() if name in KEPT}
        self.env = {**own, "ENVIRONMENT": "development", "DATA_DIR": str(self.data), "PORT": str(self.port),
                    "DATABASE_URL": f"sqlite:///{self.data}/neoforge.db", "SHUTDOWN_TIMEOUT": "10",
                    "PYTHONPATH": str(backend), **env}  # fmt: skip
        self.log = folder / "dev.log"
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = AsyncClient(base_url=self.url, trust_env=False, timeout=10)
        self._starts = 0
        self.start()

    def start(self) -> None:
        self.process = launch([sys.executable, "-m", "app.cli", "dev"], self.log, env=self.env, cwd=self._backend)
        self._starts += 1

    async def ready(self) -> None:
        """The block that says where everything is has been printed, as often as it was started."""

        def printed() -> bool:
            assert self.process.poll() is None, f"ended with {self.process.poll()}:\n{tail(self.log)}"
            return self.output().count("NeoForge runs") >= self._starts

        try:
            await eventually(printed, within=START_WITHIN)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{tail(self.log)}") from None

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def stack(self) -> dict[str, Any]:
        """What it tells other commands."""
        return json.loads((self.data / "stack.json").read_text())  # type: ignore[no-any-return] # untyped by nature: JSON

    def child(self, name: str) -> int:
        """The pid of the API, the worker, the scheduler or Valkey; 0 while it does not run."""
        try:
            pid = int(json.loads((self.data / "run" / f"{name}.json").read_text())["pid"])
        except (OSError, ValueError):
            return 0
        return pid if psutil.pid_exists(pid) else 0

    def left(self) -> list[str]:
        """Every process that belongs to it, whoever its parent is now."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get("DATA_DIR") == str(self.data) or process.cwd().startswith(str(self.data))
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{process.pid} {' '.join(process.cmdline())}")
        return found

    async def all_gone(self) -> None:
        await eventually(lambda: not self.left(), within=20)

    def kill(self) -> None:
        """`kill -9`: no handler runs."""
        self.process.kill()
        self.process.wait()

    async def close(self) -> None:
        await self.client.aclose()
        end(self.process, within=40)
