"""Background tasks beside a plain Celery app: what is lost under `kill -9`, how many a second, how soon.

`python -m bench tasks`, or `python -m bench.tasks loss|throughput|latency` for some of it. BENCH_TASKS=2000 makes a quick run;
20,000 are the full length.

**Loss.** Tasks with an effect (a row of a PostgreSQL table that counts their runs) drain while the whole worker, parent
and children, is killed again and again and started anew. Celery has the settings that are known to keep work. At most
`PATIENCE` seconds after the last kill everything is counted: lost is a task without an effect that nobody holds any
more; more than once is what an effect must be guarded against on either side, since a worker can die after the work
and before it has said so.

**Throughput.** One worker process with two children, PostgreSQL that syncs, Redis. Plain Celery has its defaults (early
acknowledgement, four messages ahead a child, no events) and results ignored. Only the side that is measured runs, and
it is warm. Then all tasks become visible in one moment: a RENAME of the list that Celery reads, the COMMIT of our rows,
where the clock starts. For Celery the messages were made before, at nobody's cost; ours makes them within the time,
since the relay is part of the promise. It stops with the last body of Celery's, and with the last row that is settled.
The sides take turns; the ratio is the median of those of each turn. CPU µs a task say where it goes, and are steadier.

**Latency.** An idle system, one task after another. From the moment before a message is sent, or the one after the
commit has returned, until the body of the task begins: the task itself takes that time on this machine's clock.
"""

import os
import platform
import random
import sqlite3
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "backend")]

from tests.services import execute  # noqa: E402 - after the path stands

from bench.servers import Servers  # noqa: E402 - after the path stands
from bench.side import Side  # noqa: E402 - after the path stands
from bench.sides import Ours, PlainCelery  # noqa: E402 - after the path stands

TASKS = int(os.environ.get("BENCH_TASKS", "20000"))
KILLS = min(25, max(1, TASKS // 800))
PATIENCE = 120.0  # seconds after the last kill: both leases of ours, and a minute
ROUNDS, SAMPLES = 3, min(200, TASKS // 10)
RATIO, P50, P99 = 0.8, 25.0, 100.0


def loss() -> bool:
    print(f"\n{TASKS:,} tasks with an effect, {KILLS} x kill -9 of the whole worker\n")
    print("| side | lost | run more than once | unfinished | s from the last kill to the end |")
    print("| --- | ---: | ---: | ---: | ---: |")
    lost = {}
    for make in (lambda servers: PlainCelery(servers, safe=True), Ours):
        servers = Servers("server")
        try:
            side = make(servers)
            lost[side.name], line = _under_kills(side)
            print(line, flush=True)
        finally:
            servers.end()
    return lost[Ours.name] == 0


def _under_kills(side: Side) -> tuple[int, str]:
    side.prepare("effect", TASKS)
    side.release()
    try:
        side.start_cold()
        for number in range(KILLS):
            goal = (number + random.random()) * TASKS / (KILLS + 1)
            side.until(lambda: side.begun > goal)  # noqa: B023 - called within the round
            side.kill_worker()
        killed, since = time.monotonic(), time.monotonic()
        while (
            time.monotonic() - killed < PATIENCE and time.monotonic() - since < 3
        ):  # a message may be between two keys
            if side.left():
                since = time.monotonic()
            time.sleep(0.1)
    finally:
        side.stop()
    found = execute(side.servers.effects, "SELECT count(*), count(*) FILTER (WHERE runs > 1) FROM effects")[0]
    unfinished = side.left()
    lost = max(0, TASKS - int(found[0]) - unfinished)
    return lost + unfinished, f"| {side.name} | {lost} | {found[1]} | {unfinished} | {since - killed:.0f} |"


def throughput() -> bool:
    count = TASKS // 4
    servers = Servers("server")
    try:
        sides = (PlainCelery(servers), Ours(servers))
        rounds = [[_measured(side, count) for side in sides] for _ in range(ROUNDS)]
    finally:
        servers.end()
    print(
        f"\n{count:,} tasks that do nothing, one worker with two children, PostgreSQL + Redis, {ROUNDS} turns, medians\n"
    )
    programs = list(rounds[0][1][1])
    print("| side | tasks/s | " + " | ".join(f"{name} µs" for name in programs) + " | CPU µs in all |")
    print("| --- |" + " ---: |" * (len(programs) + 2))
    for number, side in enumerate(sides):
        rates = [count / turn[number][0] for turn in rounds]
        used = [median(turn[number][1].get(name, 0.0) for turn in rounds) for name in programs]
        print(
            f"| {side.name} | {median(rates):,.0f} | " + " | ".join(f"{one:,.0f}" for one in [*used, sum(used)]) + " |"
        )
    ratio = median(plain[0] / mine[0] for plain, mine in rounds)
    print(f"\nratio {ratio:.2f} (goal {RATIO})", flush=True)
    return ratio >= RATIO


def _measured(side: Side, count: int) -> tuple[float, dict[str, float]]:
    side.start()
    try:
        return side.run_through(count)
    finally:
        side.stop()


def latency() -> bool:
    print(f"\nidle system, {SAMPLES} tasks one after another, ms from the promise to the start of the body\n")
    print("| side | p50 | p99 |\n| --- | ---: | ---: |")
    good = True
    for stack, words in (("server", "PostgreSQL + Redis"), ("embedded", "SQLite + embedded Valkey")):
        servers = Servers(stack)
        try:
            for side in (PlainCelery(servers), Ours(servers)):
                p50, p99 = _latencies(side)
                print(f"| {side.name}, {words} | {p50:.1f} | {p99:.1f} |", flush=True)
                good &= isinstance(side, PlainCelery) or (p50 <= P50 and p99 <= P99)
        finally:
            servers.end()
    print(f"\ngoal: p50 {P50:g}, p99 {P99:g}")
    return good


def _latencies(side: Side) -> tuple[float, float]:
    side.start()
    try:
        waits = side.latencies(SAMPLES)
    finally:
        side.stop()
    return median(waits), quantiles(waits, n=100, method="inclusive")[98]


PARTS: dict[str, Callable[[], bool]] = {"throughput": throughput, "latency": latency, "loss": loss}


def main() -> int:
    versions = ", ".join(f"{name} {version(name)}" for name in ("celery", "kombu", "redis", "asyncpg"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {time.strftime('%Y-%m-%d')}")
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {versions}", flush=True)
    chosen = [name for name in PARTS if name in sys.argv[1:]] or list(PARTS)
    return 0 if all([PARTS[name]() for name in chosen]) else 1


if __name__ == "__main__":
    sys.exit(main())
