"""`GET /users/me` of one process against a bare FastAPI endpoint with the same response model, interleaved, as ratios.

Ours runs on PostgreSQL and Redis, with limits (which nobody reaches), request ids, security headers, metrics and the
access log on, and no revocation later than a second. 10,000 accounts are signed in; each request draws one of them by
Zipf's law. Cold are tokens that the process has not met: each of 2,000 is used once.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from statistics import median

from bench import ROOT
from bench.stack import Stack, machine, stack, wait_for
from tests.processes import free_port

CONNECTIONS, MANY = 32, 512
SECONDS, ROUNDS = float(os.environ.get("BENCH_SECONDS", "5")), 3
SESSIONS, COLD = 10_000, 2_000
GOALS = {"warm": 0.7, "cold": 0.2, "many": 0.8, "tail": 1.3}
PATH = "/api/v1/users/me"

Figures = dict[str, float]


def measure(port: int, path: str, connections: int, seconds: float, tokens: Sequence[str] = ()) -> Figures:
    words = [str(port), path, str(connections), str(seconds)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", *words],
        cwd=ROOT, input="\n".join(tokens), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: Figures = json.loads(done.stdout)
    if found["failures"]:
        raise SystemExit(f"{path}: {found['failures']} requests failed")
    return found


def signed_in(ours: Stack, number: int) -> list[str]:
    """The access tokens of so many accounts."""
    command = [sys.executable, "-m", "bench.live_sessions", str(number)]
    env = {**ours.env, "PORT": str(ours.port), "LOG_LEVEL": "WARNING"}  # the port is part of what signs the tokens
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split()


def main() -> int:
    bare = free_port()
    with stack() as ours:
        plain = ("-m", "uvicorn", "bench.bare:app", "--port", str(bare), "--no-access-log", "--log-level", "warning")
        ours.start("bare", *plain)
        wait_for(f"http://127.0.0.1:{bare}/me")
        live, cold = signed_in(ours, SESSIONS), signed_in(ours, COLD)
        measure(ours.port, PATH, CONNECTIONS, 0, live)  # each is met once
        sides = {
            "bare FastAPI, same model": partial(measure, bare, "/me", CONNECTIONS, SECONDS),
            "GET /users/me": partial(measure, ours.port, PATH, CONNECTIONS, SECONDS, live),
            f"GET /users/me, {MANY} connections": partial(measure, ours.port, PATH, MANY, SECONDS, live),
        }
        rounds = [{name: side() for name, side in sides.items()} for _ in range(ROUNDS)]
        unmet = measure(ours.port, PATH, CONNECTIONS, 0, cold)
    return report(rounds, unmet)


def report(rounds: Sequence[dict[str, Figures]], unmet: Figures) -> int:
    print(machine())
    print(f"{SESSIONS:,} sessions, {CONNECTIONS} connections, {ROUNDS} rounds of {SECONDS:g} s, one process, medians\n")
    print("| endpoint | requests/s | p50 ms | p99 ms |\n| --- | ---: | ---: | ---: |")
    medians = {
        name: {key: median(one[name][key] for one in rounds) for key in ("rps", "p50_ms", "p99_ms")}
        for name in rounds[0]
    }
    for name, row in {**medians, f"GET /users/me, {COLD:,} cold tokens": unmet}.items():
        print(f"| {name} | {row['rps']:,.0f} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} |")
    bare, warm, many = medians

    def against(name: str, other: str) -> float:
        return median(one[name]["rps"] / one[other]["rps"] for one in rounds)

    def tail(name: str) -> float:
        return median(one[name]["p99_ms"] / one[name]["p50_ms"] for one in rounds)

    found = {
        "warm": against(warm, bare),
        "cold": unmet["rps"] / medians[bare]["rps"],
        "many": against(many, warm),
        "tail": tail(warm) / tail(bare),
    }
    print(
        f"\nratio to the bare endpoint {found['warm']:.2f} (goal {GOALS['warm']}), cold {found['cold']:.2f} "
        f"({GOALS['cold']}); {MANY} connections to {CONNECTIONS}: {found['many']:.2f} ({GOALS['many']}); "
        f"p99/p50 to that of the bare endpoint: {found['tail']:.2f} (at most {GOALS['tail']})"
    )
    held = all(found[key] >= GOALS[key] for key in ("warm", "cold", "many")) and found["tail"] <= GOALS["tail"]
    return 0 if held else 1
