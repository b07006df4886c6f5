"""The servers of a benchmark run, with databases and keys of its own, which go at the end."""

import os
import shutil
import sqlite3
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil
import redis
from tests import postgres
from tests.binaries import public_temporary_folder
from tests.services import PREFIX, Running, execute

from bench.effect import TABLE

UNSAFE = "fsync=off full_page_writes=off"  # what the tests save time with


class Servers(Running):
    """PostgreSQL and Redis, or an SQLite file and Valkey, of this run's own. Both engines write to a disk, and sync.

    Raises:
        SystemExit: PostgreSQL does not sync: its commits would cost nothing.
    """

    def __init__(self, stack: str) -> None:
        self.disk = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=public_temporary_folder()))
        quick = postgres.OPTIONS
        postgres.OPTIONS = quick.replace(UNSAFE, "")
        try:
            super().__init__(stack)
        finally:
            postgres.OPTIONS = quick
        self.redis = redis.Redis.from_url(self.services.redis_url)
        self.effects = ""
        if stack == "server":
            if execute(self.services.postgres_url, "SHOW fsync")[0][0] != "on":
                self.end()
                raise SystemExit("PostgreSQL runs with fsync=off: nothing that it is measured by would be true")
            for name in ("bench", "effects"):
                execute(self.services.postgres_url, f'CREATE DATABASE "{self.services.database_name(name)}"')
            self.effects = self.services.database("effects")
            execute(self.effects, TABLE)

    @property
    def database(self) -> str:
        """Where the product keeps its rows."""
        if self.services.stack == "embedded":
            return f"sqlite:///{self.disk}/bench.db"
        return self.services.database("bench")

    def end(self) -> None:
        super().end()
        shutil.rmtree(self.disk, ignore_errors=True)

    def versions(self) -> str:
        """Of what answers here."""
        found = self.redis.info("server")
        kept = f"Valkey {found['valkey_version']}" if "valkey_version" in found else f"Redis {found['redis_version']}"
        if self.services.stack == "embedded":
            return f"SQLite {sqlite3.sqlite_version} + {kept}"
        return f"PostgreSQL {execute(self.services.postgres_url, 'SHOW server_version')[0][0]} + {kept}"

    @property
    def pids(self) -> dict[str, int]:
        """Of the servers that this run started; none of one that was given."""
        lines = (self.folder / "pids").read_text().splitlines() if (self.folder / "pids").exists() else []
        return {line.split()[2]: int(line.split()[0]) for line in lines}

    def cpu(self) -> dict[str, float]:
        """CPU seconds used so far by each."""
        return {name: spent(pid, ended=True) for name, pid in self.pids.items()}


def spent(pid: int, *, ended: bool = False) -> float:
    """CPU seconds of a process; with `ended` those of its children too, of the present ones and the gone."""
    process = psutil.Process(pid)
    times = process.cpu_times()
    own = times.user + times.system
    if ended:
        own += times.children_user + times.children_system
        for child in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it has just ended
                own += spent(child.pid)
    return float(own)
