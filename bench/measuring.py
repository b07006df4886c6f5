"""Sides of a table: each is measured in turn, round after round, and told by its median and as a ratio."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from bench import ROOT
from bench.stack import Stack

CONNECTIONS = 32
SECONDS = float(os.environ.get("BENCH_SECONDS", "5"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))

Figures = dict[str, float]
Round = Mapping[str, Figures]


def measure(
    port: int,
    path: str,
    connections: int = CONNECTIONS,
    seconds: float = SECONDS,
    given: Sequence[str] = (),
    kind: str = "get",
) -> Figures:
    """Requests/s, p50 and p99 in ms, as `bench.load` sees them."""
    words = [str(port), path, str(connections), str(seconds), kind]
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", *words],
        cwd=ROOT, input="\n".join(given), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: Figures = json.loads(done.stdout)
    if found["failures"]:
        raise SystemExit(f"{path}: {found['failures']} requests failed")
    return found


def signed_in(ours: Stack, number: int) -> list[tuple[str, str]]:
    """The access and refresh tokens of so many accounts."""
    command = [sys.executable, "-m", "bench.live_sessions", str(number)]
    env = {**ours.env, "PORT": str(ours.port), "LOG_LEVEL": "WARNING"}  # the port is part of what signs the tokens
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return [(access, refresh) for access, refresh in map(str.split, done.stdout.splitlines())]


def in_turn(sides: Mapping[str, Callable[[], Figures]]) -> list[Round]:
    """A B A B, so that what else the machine does meets all of them."""
    return [{name: side() for name, side in sides.items()} for _ in range(ROUNDS)]


def of_medians(rounds: Sequence[Round]) -> dict[str, Figures]:
    return {
        name: {key: median(one[name][key] for one in rounds) for key in ("rps", "p50_ms", "p99_ms")}
        for name in rounds[0]
    }


def ratio(rounds: Sequence[Round], name: str, other: str) -> float:
    """Of the requests/s, each round by itself."""
    return median(one[name]["rps"] / one[other]["rps"] for one in rounds)


def table(rows: Mapping[str, Figures]) -> str:
    lines = ["| what | requests/s | p50 ms | p99 ms |", "| --- | ---: | ---: | ---: |"]
    for name, row in rows.items():
        lines.append(f"| {name} | {row['rps']:,.0f} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} |")
    return "\n".join(lines)


def judge(found: Mapping[str, tuple[float, float, str]]) -> int:
    """Print each ratio beside its goal; 1 when one was missed. A goal is a least value, or with `<=` a largest."""
    missed = 0
    for name, (value, goal, how) in found.items():
        held = value <= goal if how == "<=" else value >= goal
        missed |= not held
        print(f"- {name}: {value:.2f} (goal {how} {goal:g}){'' if held else ' MISSED'}")
    return int(missed)
