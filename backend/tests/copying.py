"""What the tests of `neoforge db copy` share: the command, rows, and hard values of each kind."""

import os
import secrets
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import strategies as st
from sqlmodel import SQLModel

import app.models  # noqa: F401 - registers every table
from app.core.db import build_engine
from app.core.sql import new_id
from tests.services import BACKEND

MOMENT = "2026-01-01 00:00:00.000000"
NOW = datetime(2026, 11, 25, 12, 0, 0, 123456, tzinfo=UTC)


def command(source: str | Path, target: str | Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "app.cli", "db", "copy", "--from", url(source), "--to", url(target), *options]


def url(place: str | Path) -> str:
    return f"sqlite:///{place}" if isinstance(place, Path) else place


def copy(source: str | Path, target: str | Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(source, target, *options),
        cwd=BACKEND, env={**os.environ, **env}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def killed(started: list[str], *, after: float) -> bool:
    """Run a command and kill it after so many seconds. Whether it had ended by itself, and well."""
    running = subprocess.Popen(started, cwd=BACKEND, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with suppress(subprocess.TimeoutExpired):
        running.wait(after)
    running.send_signal(signal.SIGKILL)
    said = running.communicate()[1]
    assert running.returncode in (0, -signal.SIGKILL), said
    return running.returncode == 0


def many_users(file: Path, number: int) -> None:
    """Accounts that only a database has to look at."""
    emails = ((new_id().hex, f"{new_id()}@example.com") for _ in range(number))
    with closing(sqlite3.connect(file)) as connection:
        connection.executemany(
            "INSERT INTO users (created_at, updated_at, id, email, hashed_password, is_active, is_verified, locale,"
            f" roles) VALUES ('{MOMENT}', '{MOMENT}', ?, ?, 'none', 1, 0, 'en', '[]')",
            emails,
        )
        connection.commit()


def row_of(table: str, **values: Any) -> dict[str, Any]:
    """A row with all that its table needs."""
    moment = {"created_at": NOW, "updated_at": NOW}
    made: dict[str, dict[str, Any]] = {
        "users": {"email": f"{new_id()}@example.com", "hashed_password": "none", "is_active": True, "roles": [],
                  "is_verified": False, "locale": "en", **moment},
        "user_sessions": {"session_token": secrets.token_hex(32), "key_id": "k", "salt": b"s", "generation": 1,
                          **{f"{name}_at": NOW for name in ("created", "rotated", "authenticated", "last_used")},
                          "expires_at": NOW},
        "background_tasks": {"task_type": "t", "task_data": {}, "status": "succeeded", "queue": "default",
                             "priority": 0, "run_at": NOW, "attempts": 0, "max_attempts": 1, "progress": 0.0,
                             "cancel_requested": False, "revision": 1, "created_at": NOW},
    }  # fmt: skip
    return {"id": new_id(), **made[table], **values}


async def insert(url: str, rows: list[tuple[str, dict[str, Any]]]) -> None:
    engine = build_engine(url, pool_size=1)
    try:
        async with engine.begin() as connection:
            for table, values in rows:
                await connection.execute(sa.insert(SQLModel.metadata.tables[table]).values(**values))
    finally:
        await engine.dispose()


async def all_rows(url: str) -> dict[str, list[Any]]:
    """What the service reads, table by table, in the order of its keys."""
    engine = build_engine(url, pool_size=1)
    found: dict[str, list[Any]] = {}
    try:
        async with engine.connect() as connection:
            for table in SQLModel.metadata.sorted_tables:
                rows = (await connection.execute(sa.select(table))).all()
                found[table.name] = sorted((tuple(row) for row in rows), key=lambda row: str(row[:3]))
    finally:
        await engine.dispose()
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal; a float of a document is a decimal number in `jsonb`, and comes back without e."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) or isinstance(other, float):
        return float(one) == float(other)
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
ARABIC = "\u0645\u0631\u062d\u0628\u0627 \u202e"
HARD = ("", "\\N", "\\", "\\.", "a\tb\nc\rd\x0b\x0c\x08", "'\"", "\U0001f600", ARABIC, "\x01\x7f")
hard_text = st.one_of(text, st.sampled_from(HARD))
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
spans = st.timedeltas(timedelta(0), LAST - FIRST)
moments = st.one_of(spans.map(lambda span: FIRST + span), st.sampled_from([FIRST, LAST]))
json_texts = text.filter(lambda one: "\0" not in one)
numbers = st.one_of(st.integers(-(10**30), 10**30), st.floats(allow_nan=False, allow_infinity=False), st.just(-0.0))
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, json_texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(json_texts, inner, max_size=4)),
    max_leaves=12,
)
users = st.fixed_dictionaries(
    {
        "created_at": moments,
        "full_name": st.none() | hard_text,
        "is_active": st.booleans(),
        "is_verified": st.booleans(),
        "roles": st.lists(json_texts, max_size=3),
    }
)
sessions = st.fixed_dictionaries(
    {
        "salt": st.binary(max_size=40),
        "generation": st.integers(-(2**31), 2**31 - 1),
        "revoked_at": st.none() | moments,
        "revoked_reason": st.none() | hard_text.map(lambda one: one[:32]),
        "user_agent": st.none() | hard_text,
    }
)
tasks = st.fixed_dictionaries(
    {
        "task_data": st.dictionaries(json_texts, documents, max_size=4),
        "result": documents,
        "message": st.none() | hard_text,
        "progress": st.floats(allow_nan=False, allow_infinity=False),
        "completed_at": st.none() | moments,
    }
)
rows = st.lists(st.tuples(users, sessions, tasks), min_size=5, max_size=25)


def of(drawn: list[Any]) -> list[tuple[str, dict[str, Any]]]:
    """The rows that `rows` has drawn: each account with a session and a task."""
    made: list[tuple[str, dict[str, Any]]] = []
    for user, session, task in drawn:
        whose = row_of("users", **user)
        made += [
            ("users", whose),
            ("user_sessions", row_of("user_sessions", user_id=whose["id"], **session)),
            ("background_tasks", row_of("background_tasks", user_id=whose["id"], **task)),
        ]
    return made
