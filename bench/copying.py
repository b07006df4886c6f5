"""`neoforge db copy` of 1,000,000 accounts and as many sessions from SQLite to PostgreSQL, beside pgloader.

pgloader is Debian's; where it is not installed the table says so and judges nothing. It makes the tables, indexes and
keys in its own way and compares nothing. BENCH_COPIED=100000 makes a tenth of both.
"""

import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench import ROOT
from bench.measuring import judge
from bench.stack import machine
from tests.services import Running, execute

ROWS = int(os.environ.get("BENCH_COPIED", "1000000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
MOMENT = "2026-01-01 00:00:00.000000"
TIMEOUT = 1800  # seconds


def fill(file: Path, env: dict[str, str]) -> None:
    """A migrated database with so many accounts, and a session of each."""
    neoforge(env, "upgrade", DATABASE_URL=f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as connection:
        connection.executemany(
            "INSERT INTO users (id, created_at, updated_at, email, hashed_password, full_name, is_active, is_verified,"
            f" locale, roles) VALUES (?, '{MOMENT}', '{MOMENT}', ?, ?, ?, 1, 1, 'en', '[]')",
            users(),
        )
        connection.executemany(
            "INSERT INTO user_sessions (id, created_at, user_id, session_token, key_id, salt, generation, rotated_at,"
            " authenticated_at, last_used_at, expires_at, ip, user_agent)"
            f" VALUES (?, '{MOMENT}', ?, ?, 'k', ?, 1, '{MOMENT}', '{MOMENT}', '{MOMENT}', '{MOMENT}', ?, ?)",
            sessions(),
        )
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def users() -> Iterator[tuple[str, ...]]:
    for n in range(ROWS):
        digest = digest_of("user", n)
        yield digest[:32], f"person-{n}@example.com", f"$argon2id$v=19$m=19456,t=2,p=1${digest}", f"Ada {n} O'Neill"


def sessions() -> Iterator[tuple[str | bytes, ...]]:
    for n in range(ROWS):
        digest = digest_of("session", n)
        agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
        yield digest[:32], digest_of("user", n)[:32], digest, bytes.fromhex(digest[:32]), f"10.0.{n % 256}.7", agent


def digest_of(kind: str, n: int) -> str:
    return blake2b(f"{kind}{n}".encode(), digest_size=32).hexdigest()


def neoforge(env: dict[str, str], *words: str, **settings: str) -> float:
    """Run `neoforge db …`. The most memory that it had, MiB."""
    command = [sys.executable, "-m", "app.cli", "db", *words]
    running = subprocess.Popen(command, cwd=ROOT / "backend", env={**env, **settings}, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(running.pid, 0)
    if status:
        raise SystemExit(f"neoforge db {' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_maxrss / 1024


def ours(file: Path, url: str, env: dict[str, str], folder: Path) -> dict[str, float]:
    """Rows/s of loading, of loading and comparing, and of the whole command, which also looks at each row first."""
    report = folder / "report.json"
    began = time.perf_counter()
    peak = neoforge(env, "copy", "--from", f"sqlite:///{file}", "--to", url, "--report", str(report))
    whole = time.perf_counter() - began
    said = json.loads(report.read_text())
    rows, loaded = sum(one["rows"] for one in said["tables"]), said["loaded_seconds"]
    proven = loaded + said["proven_seconds"]
    return {"load": rows / loaded, "proven": rows / proven, "whole": rows / whole, "peak": peak}


def theirs(file: Path, url: str, folder: Path) -> float:
    """Rows/s from the start of the command to its end."""
    commands = folder / "copy.load"
    commands.write_text(
        f"LOAD DATABASE FROM sqlite://{file} INTO {url}"
        " WITH include drop, create tables, create indexes, foreign keys, reset sequences,"
        " prefetch rows = 10000;\n"  # with its own 100,000 its heap of 1 GiB is not enough for a million
    )
    began = time.perf_counter()
    done = subprocess.run(["pgloader", str(commands)], capture_output=True, text=True, timeout=TIMEOUT)
    seconds = time.perf_counter() - began
    if done.returncode or "errors" not in done.stdout:
        raise SystemExit(f"pgloader ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return 2 * ROWS / seconds


def main() -> int:
    if shutil.which("pgloader") is None:
        print("pgloader is not installed (Debian: apt-get install pgloader): nothing to compare with")
        return 0
    running = Running("server")
    try:
        with TemporaryDirectory() as made:
            folder = Path(made)
            env = {**os.environ, "ENVIRONMENT": "test", "SECRET_KEY": "s" * 40, "DATA_DIR": str(folder / "data")}
            file = folder / "app.db"
            fill(file, env)
            found = []
            for _ in range(ROUNDS):
                names = [f"bench_{secrets.token_hex(4)}" for _ in range(2)]
                for name in names:
                    execute(running.services.postgres_url, f'CREATE DATABASE "{running.services.database_name(name)}"')
                mine = ours(file, running.services.database(names[0]), env, folder)
                found.append((mine, theirs(file, running.services.database(names[1]), folder)))
    finally:
        running.end()
    print(machine())
    print(f"{ROWS:,} accounts and {ROWS:,} sessions, medians of {ROUNDS} in turn\n")
    print("| what | rows/s |", "| --- | ---: |", sep="\n")
    for name, said in (("load", "loaded"), ("proven", "loaded and compared"), ("whole", "the whole command")):
        print(f"| NeoForge, {said} | {median(mine[name] for mine, _ in found):,.0f} |")
    print(f"| pgloader, the whole command | {median(peer for _, peer in found):,.0f} |\n")
    peak = max(mine["peak"] for mine, _ in found)
    print(f"NeoForge had {peak:.0f} MiB at most\n")
    return judge(
        {
            "loading to pgloader's": (median(mine["load"] / peer for mine, peer in found), 2.0, ">="),
            "loading and comparing to pgloader's": (median(mine["proven"] / peer for mine, peer in found), 1.2, ">="),
            "memory (MiB)": (peak, 200, "<="),
        }
    )
