"""The servers of a benchmark run, with databases and keys of its own, which go at the end."""

from contextlib import suppress

import psutil
import redis
from tests.services import Running, execute

from bench import engines
from bench.effect import TABLE


class Servers(Running):
    """PostgreSQL and Redis, or an SQLite file and Valkey, of this run's own. Both engines write to a disk, and sync."""

    def __init__(self, stack: str) -> None:
        self.disk = engines.folder_on_disk()
        with engines.syncing_postgres():
            super().__init__(stack)
        self.redis = redis.Redis.from_url(self.services.redis_url)
        self.effects = ""
        try:
            if stack == "server":
                self._databases()
        except BaseException:
            self.end()
            raise

    def _databases(self) -> None:
        engines.refuse_unsafe(self.services)
        for name in ("bench", "effects"):
            execute(self.services.postgres_url, f'CREATE DATABASE "{self.services.database_name(name)}"')
        self.effects = self.services.database("effects")
        execute(self.effects, TABLE)

    def end(self) -> None:
        super().end()
        for file in self.disk.iterdir():
            file.unlink()
        self.disk.rmdir()

    @property
    def database(self) -> str:
        """Where the product keeps its rows."""
        embedded = self.services.stack == "embedded"
        return f"sqlite:///{self.disk}/bench.db" if embedded else self.services.database("bench")

    @property
    def versions(self) -> str:
        return engines.versions(self.services, self.redis.info("server"))

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
