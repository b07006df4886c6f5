"""`GET /users/me` of one process against a bare FastAPI endpoint with the same response model, interleaved, as a ratio.

Ours runs on PostgreSQL and Redis: a session of its own on each connection, no revocation later than a second; limits,
request ids, security headers, metrics and the access log are on. The tokens are known to the process: what one that
it has not met costs is not shown here.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from statistics import median

from bench import ROOT
from bench.stack import machine, post, stack, wait_for
from tests.processes import free_port

CONNECTIONS, SECONDS, ROUNDS = 32, float(os.environ.get("BENCH_SECONDS", "5")), 3
GOAL = 0.7
ACCOUNT = {"email": "ada@example.com", "password": "plum-otter-42-lantern"}


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
    bare = free_port()
    with stack(SESSIONS_PER_USER=str(CONNECTIONS)) as ours:
        plain = ("-m", "uvicorn", "bench.bare:app", "--port", str(bare), "--no-access-log", "--log-level", "warning")
        ours.start("bare", *plain)
        wait_for(f"http://127.0.0.1:{bare}/me")
        post(f"{ours.api}/auth/register", ACCOUNT)
        tokens = [post(f"{ours.api}/auth/login", ACCOUNT)["access_token"] for _ in range(CONNECTIONS)]
        return report(ours.port, bare, tokens)


def report(ours: int, bare: int, tokens: Sequence[str]) -> int:
    rounds = [(measure(bare, "/me"), measure(ours, "/api/v1/users/me", tokens)) for _ in range(ROUNDS)]
    ratio = median(mine["rps"] / plain["rps"] for plain, mine in rounds)
    print(machine())
    print(f"{CONNECTIONS} connections, {ROUNDS} rounds of {SECONDS:g} s, one process each, medians\n")
    print("| endpoint | requests/s | p50 ms | p99 ms |\n| --- | ---: | ---: | ---: |")
    for name, side in (("bare FastAPI, same model", 0), ("GET /users/me, PostgreSQL + Redis", 1)):
        row = {key: median(pair[side][key] for pair in rounds) for key in ("rps", "p50_ms", "p99_ms")}
        print(f"| {name} | {row['rps']:,.0f} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} |")
    print(f"\nratio {ratio:.2f} (goal {GOAL})")
    return 0 if ratio >= GOAL else 1
