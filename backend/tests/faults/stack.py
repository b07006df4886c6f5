"""Our real processes, started and killed at random, and the clients that hold them to what they answered."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from httpx2 import AsyncClient, ConnectError, HTTPError, Response

from tests.processes import end, free_port, launch
from tests.services import BACKEND
from tests.waiting import eventually

MAIN = "from app.cli import main; main()"
SHORT = os.environ.get("FAULTS") == "short"
"""CI runs the same suite with fewer rounds; `make test-faults` runs it whole."""


def rounds(whole: int, short: int) -> int:
    return short if SHORT else whole


class Stack:
    """API, worker and scheduler as processes of their own, on one database and one Redis."""

    def __init__(self, logs: Path, roles: dict[str, list[str]], env: dict[str, str]) -> None:
        self.logs, self.env, self.kills = logs, {**os.environ, **env}, 0
        self.last_start = time.monotonic()
        self.env.pop("COVERAGE_PROCESS_CONFIG", None)  # a killed process has nothing to report, and would start slower
        self.ports = {name: free_port() for name, words in roles.items() if words[0] == "serve"}
        self.roles = roles
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        port = {"PORT": str(self.ports[name])} if name in self.ports else {}
        command = [sys.executable, "-c", MAIN, *self.roles[name]]
        self._running[name] = launch(command, self.logs / f"{name}.log", env={**self.env, **port}, cwd=BACKEND)
        self.last_start = time.monotonic()

    def start_all(self) -> None:
        for name in self.roles:
            self.start(name)

    def kill(self, name: str) -> None:
        """`kill -9` and start again."""
        self._running[name].kill()
        self._running[name].wait()
        self.kills += 1
        self.start(name)

    def end(self) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            end(process, within=30)

    @property
    def addresses(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports.values()]

    async def ready(self) -> None:
        """Wait until every API answers."""
        for address in self.addresses:
            await answering(address)

    def logged(self) -> str:
        return "".join(log.read_text(errors="replace") for log in self.logs.glob("*.log"))


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
