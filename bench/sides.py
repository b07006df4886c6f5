"""The two sides: plain Celery and the product."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from typing import Any, ClassVar

from tests.services import execute

from bench import ROOT
from bench.marks import read
from bench.servers import Servers
from bench.side import Side

SECRET = os.urandom(32).hex()


class PlainCelery(Side):
    """Celery as it comes; `safe` adds what is known to keep work over a killed worker, `events` tells monitors."""

    def __init__(self, servers: Servers, *, safe: bool = False, events: bool = False) -> None:
        self.name = "Celery, late acks" if safe else "plain Celery" + ", events" * events
        self.programs = {"worker": ["-m", "celery", "-A", "bench.celery_app", "worker", *(["-E"] if events else [])]}
        self.prefix = servers.services.redis_prefix(f"celery{int(safe)}")
        env = {
            "CELERY_BROKER": servers.services.redis_url,
            "CELERY_PREFIX": self.prefix,
            "CELERY_SAFE": str(int(safe)),
        }
        super().__init__(servers, env)

    def prepare(self, kind: str, count: int) -> None:
        aside = {**self.env, "CELERY_PREFIX": f"{self.prefix}aside:"}
        command = [sys.executable, "-m", "bench.celery_app", "fill", kind, str(count)]
        subprocess.run(command, env=aside, cwd=ROOT, check=True)

    def release(self) -> int:
        now = time.time_ns()
        self.servers.redis.rename(f"{self.prefix}aside:celery", f"{self.prefix}celery")
        return now

    def left(self) -> int:
        held = self.servers.redis.llen(f"{self.prefix}celery"), self.servers.redis.hlen(f"{self.prefix}unacked")
        return sum(map(int, held))

    def finished(self) -> int:
        return read(self.marks)[1]

    def latencies(self, count: int) -> list[float]:
        return list(json.loads(self.call("-m", "bench.celery_app", "latency", str(count))))


class Ours(Side):
    """The product: rows of `background_tasks`, the scheduler that rings, the worker that claims and settles."""

    programs: ClassVar = {name: ["-m", "bench.ours", name] for name in ("worker", "scheduler")}

    def __init__(self, servers: Servers, *, events: bool = False) -> None:
        self.name = "NeoForge" + ", events" * events
        self.url = servers.database
        env = {
            "ENVIRONMENT": "test",
            "DATABASE_URL": self.url,
            "REDIS_URL": servers.services.redis_url,
            "REDIS_PREFIX": servers.services.redis_prefix("ours"),
            "SECRET_KEY": SECRET,
            "DATA_DIR": str(servers.folder / "data"),
            "WORKER_CONCURRENCY": "2",
            "TASK_EVENTS": str(events).lower(),
            "WORKER_METRICS_PORT": "0",
            "SCHEDULER_METRICS_PORT": "0",
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

    def left(self) -> int:
        statement = "SELECT count(*) FROM background_tasks WHERE status IN ('pending', 'queued', 'running')"
        return int(self.rows(statement)[0][0])

    def finished(self) -> int:
        self.until(lambda: not self.left())
        return time.time_ns()

    def latencies(self, count: int) -> list[float]:
        return list(json.loads(self.call("-m", "bench.ours", "latency", str(count))))
