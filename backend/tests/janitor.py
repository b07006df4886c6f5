"""Cleans up after a test run, however it ended: waits until the run's end of the pipe closes, which a kill does too.

`python -m tests.janitor FOLDER`. It removes databases and keys that carry the run's own random name, and nothing else.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import asyncpg
import redis

from tests.processes import alive
from tests.services import PREFIX, Services, execute


def main(folder: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for the run: what it leaves is ours to remove
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()  # returns once the run is over
    try:
        if (folder / "services.json").exists():
            _remove_what_is_ours(Services.from_json((folder / "services.json").read_text()), folder)
    finally:
        _end_servers(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _remove_what_is_ours(services: Services, folder: Path) -> None:
    own_servers = {line.split()[2] for line in _started(folder)}
    if services.postgres_url and "postgres" not in own_servers:
        for _ in range(3):  # the server may be busy, or the run's processes not yet gone
            try:
                _drop_databases(services)
                break
            except (OSError, TimeoutError, asyncpg.PostgresError):
                time.sleep(1)  # a server that was given tells nobody when it has time again
    if "valkey" not in own_servers:
        client = redis.Redis.from_url(services.redis_url)
        for key in client.scan_iter(match=f"*{PREFIX}{services.run}-*", count=1000):
            client.delete(key)
        client.close()


def _drop_databases(services: Services) -> None:
    ours = f"starts_with(datname, '{services.database_name('')}')"
    names = execute(services.postgres_url, f"SELECT datname FROM pg_database WHERE {ours}")
    execute(services.postgres_url, *(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)' for (name,) in names))


def _started(folder: Path) -> list[str]:
    pids = folder / "pids"
    return pids.read_text().splitlines() if pids.exists() else []


def _end_servers(folder: Path) -> None:
    for line in _started(folder):
        pid, signum, _ = line.split()
        if alive(int(pid)):
            os.kill(int(pid), int(signum))
        deadline = time.monotonic() + 10
        while alive(int(pid)) and time.monotonic() < deadline:
            time.sleep(0.05)  # not our child: it can only be looked at


if __name__ == "__main__":
    main(Path(sys.argv[1]))
