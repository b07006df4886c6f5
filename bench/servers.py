"""The servers of a benchmark run, with databases and keys of its own, which go at the end."""

from contextlib import suppress

import psutil
import redis
from tests import services
from tests.services import Running, execute

from bench.effect import TABLE


class Servers(Running):
    """PostgreSQL and Redis, or an SQLite file and Valkey, of this run's own. PostgreSQL syncs as in production."""

    def __init__(self, stack: str) -> None:
        with_sync, services.POSTGRES = (
            services.POSTGRES,
            services.POSTGRES.replace("fsync=off full_page_writes=off", ""),
        )
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
