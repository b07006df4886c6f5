"""What an API process keeps: with every caller it may remember, and over a million requests.

BENCH_REQUESTS=100000 asks fewer.
"""

import os
import time

import psutil

from bench.measuring import judge, measure, signed_in
from bench.stack import machine, stack

CALLERS = 10_000
REQUESTS = int(os.environ.get("BENCH_REQUESTS", "1000000"))
PORTIONS = 5
MIB = 1024 * 1024


def main() -> int:
    with stack() as ours:
        api = psutil.Process(ours.started[0].pid)

        def rss() -> float:
            return api.memory_info().rss / MIB

        tokens = [access for access, _ in signed_in(ours, CALLERS)]
        rows = [("started", 0, rss())]
        measure(ours.port, "/api/v1/users/me", 32, 0, tokens)
        rows.append(("each caller once", CALLERS, rss()))
        asked, began = CALLERS, time.perf_counter()
        for portion in range(1, PORTIONS + 1):
            while asked < REQUESTS * portion / PORTIONS:
                seconds = 5.0
                asked += round(measure(ours.port, "/api/v1/users/me", 32, seconds, tokens)["rps"] * seconds)
            rows.append(("by Zipf's law", asked, rss()))
    print(machine())
    print(f"{CALLERS:,} callers, {asked:,} requests in {time.perf_counter() - began:.0f} s\n")
    print("| after | requests | RSS, MiB |", "| --- | ---: | ---: |", sep="\n")
    for what, number, size in rows:
        print(f"| {what} | {number:,} | {size:.1f} |")
    full, first, last = rows[1][2], rows[2][2], rows[-1][2]
    print()
    return judge({
        "MiB with every caller kept": (full, 140, "<="),
        "MiB that the last four fifths of the requests added": (last - first, 2, "<="),
    })  # fmt: skip
