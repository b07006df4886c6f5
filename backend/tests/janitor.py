"""Cleans up after a test run, however it ended: waits until the run's end of the pipe closes, which a kill does too.

`python -m tests.janitor FOLDER`. It removes databases and keys that carry the run's own random name, and nothing else.
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.processes import alive

if TYPE_CHECKING:
    from tests.services import Services


def main(folder: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for the run: what it leaves is ours to remove
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()  # returns once the run is over
    try:
        _clean_servers_that_were_given(folder)
    finally:
        _end_servers(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _clean_servers_that_were_given(folder: Path) -> None:
    if not (folder / "services.json").exists():
        return
    text = (folder / "services.json").read_text()
    postgres_url, own_servers = json.loads(text)["postgres_url"], {line.split()[2] for line in _started(folder)}
    given_postgres, given_redis = postgres_url and "postgres" not in own_servers, "valkey" not in own_servers
    if not given_postgres and not given_redis:  # as in most runs, which need not wait for drivers to be imported
        return

    from tests.services import Services

    services = Services.from_json(text)
    if given_postgres:
        _drop_databases(services)
    if given_redis:
        _delete_keys(services)


def _drop_databases(services: "Services") -> None:
    import asyncpg

    from tests.services import execute

    ours = f"starts_with(datname, '{services.database_name('')}')"
    for _ in range(3):  # the server may be busy, or the run's processes not yet gone
        try:
            names = execute(services.postgres_url, f"SELECT datname FROM pg_database WHERE {ours}")
            execute(services.postgres_url, *(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)' for (name,) in names))
            break
        except (OSError, TimeoutError, asyncpg.PostgresError):
            time.sleep(1)  # a server that was given tells nobody when it has time again


def _delete_keys(services: "Services") -> None:
    import redis

    from tests.services import PREFIX

    client = redis.Redis.from_url(services.redis_url)
    for key in client.scan_iter(match=f"*{PREFIX}{services.run}-*", count=1000):
        client.delete(key)
    client.close()


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
