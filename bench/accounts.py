"""Signing in, registering and refreshing against what they cannot do without, and the memory of a flood of sign-ins.

A sign-in cannot be faster than its hash: that runs alone in a process of its own, with as many threads. A refresh is
one compare-and-swap: a bare FastAPI endpoint does one by asyncpg, in 10 connections as ours has. PocketBase's is beside
it, which signs a new token, and writes and ends nothing: the one before goes on being valid.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import psutil

from bench import ROOT
from bench.live_sessions import PASSWORD, email_of
from bench.measuring import CONNECTIONS, ROUNDS, SECONDS, Figures, in_turn, judge, measure, of_medians, ratio, signed_in
from bench.measuring import table as table_of
from bench.peers import start
from bench.stack import Stack, machine, stack, wait_for
from tests.processes import free_port

ACCOUNTS, FLOOD = 2_000, 400
HASH, LOGIN, REGISTER = "Argon2id alone", "POST /auth/login", "POST /auth/register"
SWAP, REFRESH = "bare FastAPI, one compare-and-swap", "POST /auth/refresh"
POCKETBASE = "PocketBase (Go, SQLite), auth-refresh"
MIB = 1024 * 1024


def hash_alone(ours: Stack) -> Figures:
    command = [sys.executable, "-m", "bench.hash_alone", str(SECONDS)]
    done = subprocess.run(command, cwd=ROOT, env=ours.env, stdout=subprocess.PIPE, text=True, check=True)
    return {"rps": float(done.stdout), "p50_ms": 0.0, "p99_ms": 0.0}


def sign_ins() -> list[str]:
    return [json.dumps({"email": email_of(one, ACCOUNTS), "password": PASSWORD}) for one in range(ACCOUNTS)]


def newcomers() -> list[str]:
    return [
        json.dumps({"email": f"new-{secrets.token_hex(8)}@example.com", "password": PASSWORD}) for _ in range(ACCOUNTS)
    ]


def registering(ours: Stack) -> Figures:
    return measure(ours.port, "/api/v1/auth/register", given=newcomers(), kind="post")


def refreshing(ours: Stack, tokens: Iterator[str]) -> Figures:
    mine = [next(tokens) for _ in range(CONNECTIONS)]
    return measure(ours.port, "/api/v1/auth/refresh", given=mine, kind="refresh")


def swap(ours: Stack) -> int:
    port = free_port()
    command = (
        "-m",
        "uvicorn",
        "bench.peers.swap:app",
        "--port",
        str(port),
        "--no-access-log",
        "--log-level",
        "warning",
    )
    ours.start("swap", *command, PEER_DATABASE=start.database(ours, f"swap_{secrets.token_hex(4)}"))
    wait_for(f"http://127.0.0.1:{port}/swap")
    return port


def swapping(port: int, rows: Iterator[int]) -> Figures:
    mine = [str(next(rows)) for _ in range(CONNECTIONS)]
    return measure(port, "/swap", given=mine, kind="swap")


def flood(ours: Stack) -> tuple[float, float, float]:
    """MiB of the API before, at most during, and after a flood of sign-ins, most of which are refused."""
    api = psutil.Process(ours.started[0].pid)
    before = most = api.memory_info().rss
    words = [str(ours.port), "/api/v1/auth/login", str(FLOOD), str(SECONDS), "post"]
    running = subprocess.Popen(
        [sys.executable, "-m", "bench.load", *words], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert running.stdin is not None
    running.stdin.write("\n".join(sign_ins()))
    running.stdin.close()
    while running.poll() is None:
        most = max(most, api.memory_info().rss)
        try:
            running.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    return before / MIB, most / MIB, api.memory_info().rss / MIB


def main() -> int:
    with stack() as ours:
        pairs = signed_in(ours, ACCOUNTS)
        tokens, rows = iter([refresh for _, refresh in pairs]), iter(range(1, 1_001))
        bare = swap(ours)
        beside = {}
        if start.are_installed():
            port, _, token = start.pocketbase(ours)
            path = "/api/collections/users/auth-refresh"
            beside[POCKETBASE] = partial(measure, port, path, given=[token], kind="renew")
        rounds = in_turn(
            {
                HASH: partial(hash_alone, ours),
                LOGIN: partial(measure, ours.port, "/api/v1/auth/login", given=sign_ins(), kind="post"),
                REGISTER: partial(registering, ours),
                SWAP: partial(swapping, bare, rows),
                REFRESH: partial(refreshing, ours, tokens),
                **beside,
            }
        )
        before, most, after = flood(ours)
        threads = int(os.environ.get("HASH_THREADS", "2"))
    print(machine())
    print(f"{CONNECTIONS} connections, {ROUNDS} rounds of {SECONDS:g} s, {threads} threads that hash, medians\n")
    print(table_of(of_medians(rounds)), "\n")
    if beside:
        print(f"refresh to PocketBase's: {ratio(rounds, REFRESH, POCKETBASE):.2f}")
    print(f"{FLOOD} connections that sign in: {before:.0f} MiB before, {most:.0f} at most, {after:.0f} after")
    return judge(
        {
            "login to the hash alone": (ratio(rounds, LOGIN, HASH), 0.85, ">="),
            "register to the hash alone": (ratio(rounds, REGISTER, HASH), 0.85, ">="),
            "refresh to one compare-and-swap": (ratio(rounds, REFRESH, SWAP), 0.5, ">="),
            "MiB that the flood added, over 19 a thread": (most - before - 19 * threads, 40, "<="),
        }
    )
