"""`GET /users/me` of one process against a bare FastAPI endpoint with the same response model, interleaved, as a ratio.

Ours runs on PostgreSQL and Redis: a session of its own on each connection, every revocation correct at once; requests
that wait at the same moment share a statement; request ids, security headers, metrics and the access log are on.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "backend")]

from tests.processes import end, free_port, launch  # noqa: E402 - after the path stands
from tests.services import Running  # noqa: E402 - after the path stands

CONNECTIONS, SECONDS, ROUNDS = 32, float(os.environ.get("BENCH_SECONDS", "5")), 3
GOAL = 0.2
ACCOUNT = {"email": "ada@example.com", "password": "plum-otter-42-lantern"}


def post(url: str, body: dict[str, str]) -> dict[str, str]:
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


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


def measure(port: int, path: str, tokens: Sequence[str] = ()) -> dict[str, float]:
    words = [str(port), path, str(CONNECTIONS), str(SECONDS), *tokens]
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    if found["failures"]:
        raise SystemExit(f"{path}: {found['failures']} requests failed")
    return found


def main() -> int:
    running = Running("server")
    folder = Path(running.services.folder)
    ours, bare = free_port(), free_port()
    env = {
        **os.environ,
        "ENVIRONMENT": "test",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "backend"), str(ROOT)]),
        "DATABASE_URL": running.services.database("bench"),
        "REDIS_URL": running.services.redis_url,
        "REDIS_PREFIX": running.services.redis_prefix("bench"),
        "SECRET_KEY": os.urandom(32).hex(),
        "DATA_DIR": str(folder / "data"),
        "PORT": str(ours),
        "SESSIONS_PER_USER": str(CONNECTIONS),
        "RATE_LIMIT_GENERAL": "100000000/minute",  # on, and out of the way
        "RATE_LIMIT_LOGIN": "100000/minute",
        "LOG_FORMAT": "json",
    }
    started = []
    try:
        from tests.services import execute

        execute(running.services.postgres_url, f'CREATE DATABASE "{running.services.database_name("bench")}"')
        neoforge = [sys.executable, "-c", "from app.cli import main; main()"]
        subprocess.run([*neoforge, "db", "upgrade"], env=env, check=True)
        started.append(launch([*neoforge, "serve"], folder / "ours.log", env=env, cwd=ROOT))
        plain = [
            sys.executable,
            "-m",
            "uvicorn",
            "bench.bare:app",
            "--port",
            str(bare),
            "--no-access-log",
            "--log-level",
            "warning",
        ]
        started.append(launch(plain, folder / "bare.log", env=env, cwd=ROOT))
        wait_for(f"http://127.0.0.1:{ours}/api/v1/health")
        wait_for(f"http://127.0.0.1:{bare}/me")
        post(f"http://127.0.0.1:{ours}/api/v1/auth/register", ACCOUNT)
        login = f"http://127.0.0.1:{ours}/api/v1/auth/login"
        return report(ours, bare, [post(login, ACCOUNT)["access_token"] for _ in range(CONNECTIONS)])
    finally:
        for process in started:
            end(process)
        running.end()


def report(ours: int, bare: int, tokens: Sequence[str]) -> int:
    rounds = [(measure(bare, "/me"), measure(ours, "/api/v1/users/me", tokens)) for _ in range(ROUNDS)]
    ratio = median(mine["rps"] / plain["rps"] for plain, mine in rounds)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )
    print(f"{CONNECTIONS} connections, {ROUNDS} rounds of {SECONDS:g} s, one process each, medians\n")
    print("| endpoint | requests/s | p50 ms | p99 ms |\n| --- | ---: | ---: | ---: |")
    for name, side in (("bare FastAPI, same model", 0), ("GET /users/me, PostgreSQL + Redis", 1)):
        row = {key: median(pair[side][key] for pair in rounds) for key in ("rps", "p50_ms", "p99_ms")}
        print(f"| {name} | {row['rps']:,.0f} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} |")
    print(f"\nratio {ratio:.2f} (goal {GOAL})")
    return 0 if ratio >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
