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
Below stand both with the events that Flower listens to: ours carries one row in a message then, as Celery does.

**Latency.** An idle system, one task after another. From the moment before a message is sent, or the one after the
commit has returned, until the body of the task begins: the task itself takes that time on this machine's clock.
"""

import os
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from statistics import median, quantiles

from bench.servers import Servers
from bench.side import Side
from bench.sides import Ours, PlainCelery
from bench.stack import machine
from tests.services import execute

TASKS = int(os.environ.get("BENCH_TASKS", "20000"))
KILLS = min(25, max(1, TASKS // 800))
PATIENCE = 120.0  # seconds after the last kill: both leases of ours, and a minute
QUIET = 3.0  # seconds without work: a message may be between two of Celery's keys
ROUNDS, SAMPLES = 3, min(200, TASKS // 10)
RATIO, P50, P99 = 0.8, 25.0, 100.0


def loss() -> bool:
    print(f"{TASKS:,} tasks with an effect, {KILLS} x kill -9 of the whole worker\n")
    print("| side | lost | run more than once | unfinished | s from the last kill to the end |")
    print("| --- | ---: | ---: | ---: | ---: |")
    bad = []
    for make in (partial(PlainCelery, safe=True), Ours):
        servers = Servers("server")
        try:
            side = make(servers)
            lost, again, unfinished, seconds = _under_kills(side)
            print(f"| {side.name} | {lost} | {again} | {unfinished} | {seconds:.0f} |", flush=True)
            bad.append(lost + unfinished)
        finally:
            servers.end()
    return not any(bad[1:])


def _under_kills(side: Side) -> tuple[int, int, int, float]:
    side.prepare("effect", TASKS)
    side.release()
    try:
        side.start_cold()
        for number in range(KILLS):
            goal = (number + random.random()) * TASKS / (KILLS + 1)
            side.until(partial(side.has_begun, goal))
            side.kill_worker()
        killed = busy = time.monotonic()
        while time.monotonic() - killed < PATIENCE and time.monotonic() - busy < QUIET:
            if unfinished := side.left():
                busy = time.monotonic()
            time.sleep(0.1)
    finally:
        side.stop()
    done, again = execute(side.servers.effects, "SELECT count(*), count(*) FILTER (WHERE runs > 1) FROM effects")[0]
    return max(0, TASKS - done - unfinished), again, unfinished, busy - killed


def throughput() -> bool:
    servers = Servers("server")
    try:
        sides = [make(servers, events=events) for events in (False, True) for make in (PlainCelery, Ours)]
        rounds = [[_measured(side) for side in sides] for _ in range(ROUNDS)]
        print(f"{TASKS:,} tasks that do nothing, a worker with two children, {servers.versions}, {ROUNDS} turns\n")
    finally:
        servers.end()
    programs = list(rounds[0][1][1])
    print("| medians | tasks/s | " + " | ".join(f"{name} µs" for name in programs) + " | CPU µs in all |")
    print("| --- |" + " ---: |" * (len(programs) + 2))
    for number, side in enumerate(sides):
        rates = [TASKS / turn[number][0] for turn in rounds]
        used = [median(turn[number][1].get(name, 0.0) for turn in rounds) for name in programs]
        print(f"| {side.name} | " + " | ".join(f"{one:,.0f}" for one in (median(rates), *used, sum(used))) + " |")
    ratio = median(plain[0] / mine[0] for plain, mine, *_ in rounds)
    print(f"\nratio {ratio:.2f} (goal {RATIO})\n", flush=True)
    return ratio >= RATIO


def _measured(side: Side) -> tuple[float, dict[str, float]]:
    side.start()
    try:
        return side.run_through(TASKS)
    finally:
        side.stop()


def latency() -> bool:
    print(f"idle system, {SAMPLES} tasks one after another, ms from the promise to the start of the body\n")
    print("| side | p50 | p99 |\n| --- | ---: | ---: |")
    good = True
    for stack in ("server", "embedded"):
        servers = Servers(stack)
        try:
            for side in (PlainCelery(servers), Ours(servers)):
                p50, p99 = _latencies(side)
                print(f"| {side.name}, {servers.versions} | {p50:.1f} | {p99:.1f} |", flush=True)
                good &= isinstance(side, PlainCelery) or (p50 <= P50 and p99 <= P99)
        finally:
            servers.end()
    print(f"\ngoal: p50 {P50:g}, p99 {P99:g}\n", flush=True)
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
    libraries = ", ".join(f"{name} {version(name)}" for name in ("celery", "kombu", "redis", "asyncpg"))
    print(f"{machine()}, {libraries}, load average at the start {os.getloadavg()[0]:.1f}\n", flush=True)
    outcomes = [measure() for name, measure in PARTS.items() if name in sys.argv[1:] or not PARTS.keys() & sys.argv[1:]]
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
