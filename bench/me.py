"""`GET /users/me` against a bare FastAPI endpoint with the same response model, and against peers, as ratios.

Ours runs on PostgreSQL and Redis, with limits (which nobody reaches), request ids, security headers, metrics and the
access log on, and no revocation later than a second. 10,000 accounts are signed in; each request draws one of them by
Zipf's law. Cold are tokens that the process has not met: each of 2,000 is used once, and then once at another
process, which finds in Redis what the first has read. The peers read their database on
every request, where ours may be a second old.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from bench import ROOT, chart
from bench.measuring import (
    CONNECTIONS,
    ROUNDS,
    SECONDS,
    Figures,
    Round,
    in_turn,
    judge,
    measure,
    of_medians,
    ratio,
    signed_in,
    table,
)
from bench.peers import start
from bench.stack import NEOFORGE, Stack, machine, stack, wait_for
from tests.processes import free_port

MANY = 512
SESSIONS, COLD = int(os.environ.get("BENCH_SESSIONS", "10000")), 2_000
PATH, CHART = "/api/v1/users/me", ROOT / "docs" / "bench-me.svg"
BARE, OURS, CROWD = "bare FastAPI, same model", "GET /users/me", f"GET /users/me, {MANY} connections"
TWO, ALONE, UNMET = "GET /users/me, two processes", "GET /users/me, Redis down", f"GET /users/me, {COLD:,} cold tokens"
MET = f"{UNMET}, met by another process"
USERS, POCKETBASE = "fastapi-users", "PocketBase (Go, SQLite)"
Sides = dict[str, Callable[[], Figures]]


def another(ours: Stack, name: str, *words: str, **env: str) -> int:
    """One more API on the same database; its port."""
    port = free_port()
    ours.start(name, *NEOFORGE, "serve", "--port", str(port), *words, **env)
    wait_for(f"http://127.0.0.1:{port}/api/v1/health")
    return port


def bare(ours: Stack) -> int:
    port = free_port()
    plain = ("-m", "uvicorn", "bench.bare:app", "--port", str(port), "--no-access-log", "--log-level", "warning")
    ours.start("bare", *plain)
    wait_for(f"http://127.0.0.1:{port}/me")
    return port


def ours_and_bare(ours: Stack, live: Sequence[str]) -> Sides:
    two = another(ours, "two", "--workers", "2")
    alone = another(ours, "alone", REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    for port, times in ((ours.port, 1), (two, 4), (alone, 1)):
        for _ in range(times):
            measure(port, PATH, seconds=0, given=live)  # each is met once, by either of two
    return {
        BARE: partial(measure, bare(ours), "/me"),
        OURS: partial(measure, ours.port, PATH, given=live),
        CROWD: partial(measure, ours.port, PATH, MANY, given=live),
        TWO: partial(measure, two, PATH, given=live),
        ALONE: partial(measure, alone, PATH, given=live),
    }


def of_peers(ours: Stack) -> Sides:
    if not start.are_installed():
        print("The peers are not installed (make bench does it): the table leaves them out.\n")
        return {}
    users, token = start.fastapi_users(ours)
    pocketbase, path, other = start.pocketbase(ours)
    return {
        USERS: partial(measure, users, "/users/me", given=[token]),
        POCKETBASE: partial(measure, pocketbase, path, given=[other]),
    }


def main() -> int:
    with stack() as ours:
        live = [access for access, _ in signed_in(ours, SESSIONS)]
        cold = [access for access, _ in signed_in(ours, COLD)]
        rounds = in_turn({**ours_and_bare(ours, live), **of_peers(ours)})
        other = another(ours, "other")
        unmet = measure(ours.port, PATH, seconds=0, given=cold)
        met = measure(other, PATH, seconds=0, given=cold)
    return report(rounds, unmet, met)


def report(rounds: Sequence[Round], unmet: Figures, met: Figures) -> int:
    print(machine())
    print(f"{SESSIONS:,} sessions, {CONNECTIONS} connections, {ROUNDS} rounds of {SECONDS:g} s, medians")
    print("one process each but where it says two; the generator is another, on the same cores\n")
    medians = {**of_medians(rounds), UNMET: unmet, MET: met}
    print(table(medians), "\n")
    if "BENCH_CHART" in os.environ:
        chart.bars({name: row["rps"] for name, row in medians.items()}, f"requests/s, {machine()}", CHART)

    def tail(name: str) -> float:
        return median(one[name]["p99_ms"] / one[name]["p50_ms"] for one in rounds)

    found = {
        "ours to the bare endpoint": (ratio(rounds, OURS, BARE), 0.7, ">="),
        "cold tokens to the bare endpoint": (unmet["rps"] / medians[BARE]["rps"], 0.2, ">="),
        f"{MANY} connections to {CONNECTIONS}": (ratio(rounds, CROWD, OURS), 0.8, ">="),
        "p99/p50 to that of the bare endpoint": (tail(OURS) / tail(BARE), 1.3, "<="),
        "Redis down to the bare endpoint": (ratio(rounds, ALONE, BARE), 0.7, ">="),
    }
    if USERS in medians:
        found["ours to fastapi-users"] = (ratio(rounds, OURS, USERS), 10, ">=")
        print(f"ours to PocketBase: {ratio(rounds, OURS, POCKETBASE):.2f}")
    print(f"two processes to one: {ratio(rounds, TWO, OURS):.2f} (they share two cores with the generator)")
    return judge(found)
