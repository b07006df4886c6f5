"""Our real processes, killed and started again, on one database and one Redis."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import psutil
from httpx2 import AsyncClient, ConnectError, HTTPError, Response

from tests.processes import free_port, launch, outlive, tail
from tests.services import BACKEND
from tests.waiting import eventually

MAIN = "from app.cli import main; main()"
SHORT = os.environ.get("FAULTS") == "short"
"""CI runs the same suite with fewer rounds; `make test-faults` runs it whole."""


def rounds(whole: int, short: int) -> int:
    return short if SHORT else whole


@dataclass(frozen=True)
class Role:
    """A process of the product, and what is said to it alone."""

    command: str
    env: Mapping[str, str] = field(default_factory=dict)
    main: str = MAIN


ONE_OF_EACH = {"api": Role("serve"), "worker": Role("worker"), "scheduler": Role("scheduler")}


class Stack:
    """API, worker and scheduler as processes of their own."""

    def __init__(self, logs: Path, roles: Mapping[str, Role], env: Mapping[str, str]) -> None:
        self.logs, self.env, self.kills = logs, {**os.environ, **env}, 0
        self.last_start = time.monotonic()
        self.env.pop("COVERAGE_PROCESS_CONFIG", None)  # a killed process has nothing to report, and would start slower
        self.ports = {name: free_port() for name, role in roles.items() if role.command == "serve"}
        self.roles = roles
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def database(self) -> str:
        return self.env["DATABASE_URL"]

    def start(self, name: str) -> None:
        role = self.roles[name]
        port = {"PORT": str(self.ports[name])} if name in self.ports else {}
        command = [sys.executable, "-c", role.main, role.command]
        env = {**self.env, **port, **role.env}
        self._running[name] = launch(command, self.log(name), env=env, cwd=BACKEND)
        self.last_start = time.monotonic()

    def start_all(self) -> None:
        for name in self.roles:
            self.start(name)

    def process(self, name: str) -> subprocess.Popen[bytes]:
        return self._running[name]

    def kill(self, name: str) -> None:
        """`kill -9` of the process and of all that it started, and start it again."""
        process = self._running[name]
        started = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        for child in started:
            child.kill()  # by psutil, which knows when the number belongs to another by now
        process.wait()
        psutil.wait_procs(started)
        self.kills += 1
        self.start(name)

    def stop(self, name: str) -> None:
        """SIGTERM, and wait for the end."""
        process = self._running[name]
        process.terminate()
        assert outlive(process, within=60) != -signal.SIGKILL, self.report()

    def end(self) -> None:
        """Ask all of them to end, once, and see that they do."""
        for process in self._running.values():
            process.terminate()
        codes = {name: outlive(process, within=30) for name, process in self._running.items()}
        assert -signal.SIGKILL not in codes.values(), f"exit codes {codes}\n{self.report()}"

    def ended(self) -> dict[str, int]:
        """The processes that have ended by themselves: somebody would have to start them again."""
        codes = {name: process.poll() for name, process in self._running.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def report(self) -> str:
        """For the message of a failure."""
        logs = "\n".join(f"--- {name}\n{tail(self.log(name), 20)}" for name in self.roles)
        return f"ended by themselves: {self.ended()}\n{logs}"

    @property
    def addresses(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports.values()]

    async def ready(self) -> None:
        """Wait until every API answers."""
        for address in self.addresses:
            await answering(address)

    def log(self, name: str) -> Path:
        return self.logs.with_name(f"{self.logs.stem}-{name}.log")

    def logged(self, *names: str) -> str:
        return "".join(self.log(name).read_text(errors="replace") for name in names or self.roles)

    def said(self, name: str, **of: str) -> list[dict[str, Any]]:
        """The process's log lines that have these values."""
        lines = (json.loads(line) for line in self.logged(name).splitlines() if line.startswith("{"))
        return [line for line in lines if of.items() <= line.items()]


async def answering(address: str) -> None:
    """Wait until the API there answers."""

    async def answers() -> bool:
        async with AsyncClient(base_url=address, timeout=2) as client:
            try:
                return (await client.get("/api/v1/health")).status_code == 200
            except HTTPError:
                return False

    await eventually(answers, within=60)


async def kill_at_random(
    stack: Stack, *, pause: tuple[float, float], done: anyio.Event, enough: float = math.inf
) -> None:
    """Kill one process after another, or two at once, until there were enough; when told that it is done, once more."""
    chance = random.Random()
    names = list(stack.roles)
    while not done.is_set():
        with anyio.move_on_after(chance.uniform(*pause)):
            await done.wait()
        for name in chance.sample(names, chance.choice((1, 1, 2))):
            stack.kill(name)
        if stack.kills >= enough:
            done.set()


class NeverSent(Exception):
    """The connection was refused: nobody has heard of the request."""


async def attempt(call: Callable[[], Awaitable[Response]]) -> Response | None:
    """The answer, or None when the connection broke and nobody can know what became of the request."""
    try:
        return await call()
    except ConnectError:
        raise NeverSent from None
    except HTTPError:
        return None
