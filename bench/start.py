"""From the start of a process to its first 200 that asked the database, beside a small FastAPI and SQLModel app.

Both are migrated before, find their compiled modules, and are started in turn. Neither finds `rich`, which only the
test environment has, and which structlog would import.
"""

import os
import secrets
import time
from statistics import median
from urllib.request import urlopen

from bench.measuring import judge
from bench.peers import start
from bench.stack import NEOFORGE, Stack, machine, stack
from tests.processes import end, free_port

AS_INSTALLED = ("-c", f"import sys; sys.modules['rich'] = None; {NEOFORGE[1]}", *NEOFORGE[2:])
STARTS = int(os.environ.get("BENCH_STARTS", "9"))
PAUSE = 0.005  # seconds between two looks


def seconds_to_answer(ours: Stack, path: str, *command: str, **settings: str) -> float:
    port = free_port()
    began = time.perf_counter()
    ours.start("start", *(word.format(port=port) for word in command), PORT=str(port), **settings)
    try:
        while True:
            try:
                urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
            except OSError:
                if time.perf_counter() - began > 60:
                    raise
                time.sleep(PAUSE)
            else:
                return time.perf_counter() - began
    finally:
        end(ours.started.pop())


def main() -> int:
    with stack() as ours:
        peer = start.database(ours, f"small_{secrets.token_hex(4)}")
        uvicorn = ("-m", "uvicorn", "bench.peers.small_app:app", "--port", "{port}", "--log-level", "warning")
        found: list[tuple[float, float]] = []
        for _ in range(STARTS + 1):
            small = seconds_to_answer(ours, "/heroes", *uvicorn, PEER_DATABASE=peer)
            found.append((seconds_to_answer(ours, "/api/v1/health/ready", *AS_INSTALLED, "serve"), small))
    del found[0]  # it reads the modules from the disk
    print(machine())
    print(f"{STARTS} starts each, medians of seconds to the first 200\n")
    print("| what | s |", "| --- | ---: |", sep="\n")
    print(f"| NeoForge, `/health/ready` | {median(ours for ours, _ in found):.2f} |")
    print(f"| FastAPI and SQLModel, one route | {median(small for _, small in found):.2f} |\n")
    return judge({"start to the small app's": (median(ours / small for ours, small in found), 1.6, "<=")})
