"""The two sides of the task benchmark, and the servers that both use: processes to start, fill, kill and count."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import psutil
import redis
from tests import services
from tests.processes import end, launch, tail
from tests.services import Running, execute

from bench.effect import TABLE
from bench.marks import read

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = 500  # tasks, so that no import and no first connection is measured
PATIENCE = 300.0  # seconds without progress before a run is given up


class Servers(Running):
    """PostgreSQL and Redis, or an SQLite file and Valkey, of this run's own. PostgreSQL syncs as in production."""

    def __init__(self, stack: str) -> None:
        with_sync, services.POSTGRES = services.POSTGRES, services.POSTGRES.replace("fsync=off full_page_writes=off", "")
        try:
            super().__init__(stack)
        finally:
            services.POSTGRES = with_sync
        self.redis = redis.Redis.from_url(self.services.redis_url)
        self.effects = ""
        if stack == "server":
            for name in ("bench", "effects"):
                execute(self.services.postgres_url, f'CREATE DATABASE "{self.services.database_name(name)}"')
            self.effects = self.services.database("effects")
            execute(self.effects, TABLE)

    @property
    def pids(self) -> dict[str, int]:
        """Of the servers that this run started; none of one that was given."""
        lines = (self.folder / "pids").read_text().splitlines() if (self.folder / "pids").exists() else []
        return {line.split()[2]: int(line.split()[0]) for line in lines}


class Side(ABC):
    """One of the two, on servers of the run."""

    name: str
    programs: ClassVar[dict[str, list[str]]]
    """Arguments of python for each process, by name; `worker` is one of them."""

    def __init__(self, servers: Servers, env: Mapping[str, str]) -> None:
        self.servers, self.running = servers, dict[str, subprocess.Popen[bytes]]()
        self.marks = servers.folder / f"marks-{type(self).__name__}"
        self.marks.mkdir(exist_ok=True)
        path = os.pathsep.join([str(ROOT / "backend"), str(ROOT)])
        own = {"PYTHONPATH": path, "BENCH_MARKS": str(self.marks), "BENCH_EFFECTS": servers.effects}
        self.env = {**os.environ, **own, **env}

    def start(self) -> None:
        """All processes, warm: they have done some tasks."""
        for name in self.programs:
            self._launch(name)
        self.run_through(WARM_UP)

    def _launch(self, name: str) -> None:
        log = self.servers.services.log(f"{type(self).__name__}-{name}")
        self.running[name] = launch([sys.executable, *self.programs[name]], log, env=self.env, cwd=ROOT)

    def stop(self) -> None:
        for process in self.running.values():
            end(process)
        self.running.clear()
        shutil.rmtree(self.marks)
        self.marks.mkdir()

    def kill_worker(self) -> None:
        """`kill -9` of the parent and every child, and a new one at once."""
        parent = psutil.Process(self.running["worker"].pid)
        whole = [parent, *parent.children(recursive=True)]
        for process in whole:
            process.kill()
        self.running["worker"].wait()
        psutil.wait_procs(whole[1:], timeout=10)
        self._launch("worker")

    @property
    def begun(self) -> int:
        """Bodies begun since the start."""
        return read(self.marks)[0]

    def run_through(self, count: int) -> tuple[float, dict[str, float]]:
        """Release so many tasks at once that do nothing: seconds to the end of the last, CPU µs a task by process."""
        self.prepare("noop", count)
        already, used = self.begun, self.cpu()
        since = self.release()
        self.until(lambda: self.begun - already >= count)
        until = self.finished()
        spent = {name: (seconds - used[name]) / count * 1e6 for name, seconds in self.cpu().items()}
        return (until - since) / 1e9, spent

    def until(self, true: Any) -> None:
        seen, deadline = -1, 0.0
        while not true():
            if self.begun != seen:
                seen, deadline = self.begun, time.monotonic() + PATIENCE
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name}: no progress in {PATIENCE:g} s\n{self.logged()}")
            time.sleep(0.01)

    def cpu(self) -> dict[str, float]:
        """CPU seconds used so far: of each process of ours, of the worker's children, and of the servers."""
        found = {}
        for name, process in self.running.items():
            main = psutil.Process(process.pid)
            found[name] = _spent(main)
            if name == "worker":
                found["worker's children"] = sum(_spent(child) for child in main.children(recursive=True))
        for name, pid in self.servers.pids.items():
            main = psutil.Process(pid)
            ended = main.cpu_times()
            found[name] = _spent(main) + ended.children_user + ended.children_system
            found[name] += sum(_spent(child) for child in main.children(recursive=True))
        return found

    def logged(self) -> str:
        return "\n".join(tail(self.servers.services.log(f"{type(self).__name__}-{name}"), 20) for name in self.programs)

    def call(self, *words: str) -> str:
        """What a helper program of this side prints."""
        command = [sys.executable, *words]
        return subprocess.run(command, env=self.env, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    @abstractmethod
    def prepare(self, kind: str, count: int) -> None:
        """Make so many tasks of the kind, which no process sees yet."""

    @abstractmethod
    def release(self) -> int:
        """Show all of them at once; the ns of the moment."""

    @abstractmethod
    def finished(self) -> int:
        """Wait until nothing is left; the ns when the last one was done."""

    @abstractmethod
    def latencies(self, count: int) -> list[float]:
        """Milliseconds from the promise of one task to the start of its body, each on an idle system."""


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


class PlainCelery(Side):
    """Celery as it comes; `safe` adds what is known to keep work over a killed worker."""

    programs: ClassVar = {"worker": ["-m", "celery", "-A", "bench.celery_app", "worker"]}

    def __init__(self, servers: Servers, *, safe: bool = False) -> None:
        self.name = "Celery, late acks" if safe else "plain Celery"
        self.prefix = servers.services.redis_prefix(f"celery{int(safe)}")
        env = {
            "CELERY_BROKER": servers.services.redis_url,
            "CELERY_PREFIX": self.prefix,
            "CELERY_SAFE": str(int(safe)),
        }
        super().__init__(servers, env)

    def prepare(self, kind: str, count: int) -> None:
        aside = {**self.env, "CELERY_PREFIX": f"{self.prefix}aside:"}
        subprocess.run([sys.executable, "-m", "bench.celery_app", "fill", kind, str(count)], env=aside, cwd=ROOT, check=True)

    def release(self) -> int:
        now = time.time_ns()
        self.servers.redis.rename(f"{self.prefix}aside:celery", f"{self.prefix}celery")
        return now

    def finished(self) -> int:
        return read(self.marks)[1]

    def latencies(self, count: int) -> list[float]:
        return list(json.loads(self.call("-m", "bench.celery_app", "latency", str(count))))


class Ours(Side):
    """The product: rows of `background_tasks`, the scheduler that rings them, the worker that claims and settles them."""

    name = "NeoForge"
    programs: ClassVar = {
        "worker": ["-m", "bench.ours", "worker"],
        "scheduler": ["-m", "bench.ours", "scheduler"],
    }

    def __init__(self, servers: Servers) -> None:
        self.url = servers.services.database("bench")
        env = {
            "ENVIRONMENT": "test",
            "DATABASE_URL": self.url,
            "REDIS_URL": servers.services.redis_url,
            "REDIS_PREFIX": servers.services.redis_prefix("ours"),
            "SECRET_KEY": os.urandom(32).hex(),
            "DATA_DIR": str(servers.folder / "data"),
            "WORKER_CONCURRENCY": "2",
            "LOG_FORMAT": "json",
        }
        super().__init__(servers, env)
        self.call("-m", "app.cli", "db", "upgrade")

    def prepare(self, kind: str, count: int) -> None:
        command = [sys.executable, "-m", "bench.ours", "fill", kind, str(count)]
        self.writer = subprocess.Popen(
            command, env=self.env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.writer.stdout is not None
        self.writer.stdout.readline()

    def release(self) -> int:
        return int(self.writer.communicate("now\n")[0])

    def rows(self, statement: str) -> list[Any]:
        if self.url.startswith("postgresql"):
            return execute(self.url, statement)
        with sqlite3.connect(self.url.removeprefix("sqlite:///")) as db:
            return db.execute(statement).fetchall()

    def unfinished(self) -> int:
        statement = "SELECT count(*) FROM background_tasks WHERE status IN ('pending', 'queued', 'running')"
        return int(self.rows(statement)[0][0])

    def finished(self) -> int:
        self.until(lambda: not self.unfinished())
        return time.time_ns()

    def latencies(self, count: int) -> list[float]:
        return list(json.loads(self.call("-m", "bench.ours", "latency", str(count))))
