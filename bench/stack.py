"""What the tables share: our API as an operator starts it, on a PostgreSQL database and a Redis of its own."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

from bench import ROOT
from tests.processes import end, free_port, launch
from tests.services import Running, execute

NEOFORGE = ("-c", "from app.cli import main; main()")
OUT_OF_THE_WAY = {  # the limits are on, and nobody reaches them
    "RATE_LIMIT_GENERAL": "100000000/minute",
    **{f"RATE_LIMIT_{name}": "100000/minute" for name in ("LOGIN", "ACCOUNT", "REGISTER", "FORGOT", "RESEND")},
}


@dataclass
class Stack:
    """The API at `port`, and the processes beside it."""

    database_url: str
    env: dict[str, str]
    folder: Path
    port: int = field(default_factory=free_port)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1"

    def start(self, name: str, *command: str, **settings: str) -> None:
        """Start Python with these arguments, in the API's environment and these. It ends with the stack."""
        env = {**self.env, "PORT": str(self.port), **settings}
        self.started.append(launch([sys.executable, *command], self.folder / f"{name}.log", env=env, cwd=ROOT))


@contextmanager
def stack(**settings: str) -> Iterator[Stack]:
    """Our API, answering, with these settings over those that every table has."""
    running = Running("server")
    folder, services = Path(running.services.folder), running.services
    env = {
        **os.environ,
        "ENVIRONMENT": "test",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "backend"), str(ROOT)]),
        "DATABASE_URL": services.database("bench"),
        "REDIS_URL": services.redis_url,
        "REDIS_PREFIX": services.redis_prefix("bench"),
        "SECRET_KEY": os.urandom(32).hex(),
        "DATA_DIR": str(folder / "data"),
        "LOG_FORMAT": "json",
        **OUT_OF_THE_WAY,
        **settings,
    }
    made = Stack(env["DATABASE_URL"], env, folder)
    try:
        execute(services.postgres_url, f'CREATE DATABASE "{services.database_name("bench")}"')
        subprocess.run([sys.executable, *NEOFORGE, "db", "upgrade"], env=env, check=True)
        made.start("api", *NEOFORGE, "serve")
        wait_for(f"{made.api}/health")
        yield made
    finally:
        for process in made.started:
            end(process)
        running.end()


def wait_for(url: str) -> None:
    for _ in range(200):
        try:
            urlopen(url, timeout=2).close()
        except OSError as error:
            if getattr(error, "code", 0):
                return
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"nothing answers at {url}")


def post(url: str, body: dict[str, str]) -> dict[str, str]:
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


def machine() -> str:
    """Where and when a table was made."""
    python = platform.python_version()
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {python}, {time.strftime('%Y-%m-%d')}"
