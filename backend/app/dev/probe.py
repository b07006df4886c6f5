"""Cheap questions of the supervisor: is the database at its newest revision, does the API answer, is a worker there."""

import asyncio
import json
import re
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

VERSIONS = Path(__file__).resolve().parents[2] / "alembic" / "versions"
_REVISION = re.compile(r"^(revision|down_revision)\b[^=]*=\s*[\"']([^\"']+)[\"']", re.MULTILINE)
PAUSE = 0.05  # seconds between two questions
Address = tuple[str, int]


def at_head(url: str) -> bool:
    """Whether an SQLite file is at the newest revision, in milliseconds. Of another engine "no": ask Alembic."""
    return _ask_sqlite(url, "SELECT version_num FROM alembic_version") == heads()


def worker_came(url: str, since: datetime) -> bool:
    """Whether a worker has begun since then. Readiness may still see the last heartbeat of one that was killed before.

    Of another engine than SQLite "yes": readiness has to do.
    """
    began = since.strftime("%Y-%m-%d %H:%M:%S.%f")
    workers = "SELECT id FROM heartbeats WHERE role = 'worker' AND created_at >= ?"
    return not url.startswith("sqlite:///") or bool(_ask_sqlite(url, workers, began))


def _ask_sqlite(url: str, statement: str, *values: str) -> set[str]:
    """The first column of what an SQLite file answers; nothing where there is no such file or table."""
    path = Path(url.removeprefix("sqlite:///"))
    if not url.startswith("sqlite:///") or not path.is_file():
        return set()
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            return {row[0] for row in database.execute(statement, values)}
    except sqlite3.Error:
        return set()


def heads() -> set[str]:
    """The revisions that no other one follows."""
    named: dict[str, set[str]] = {"revision": set(), "down_revision": set()}
    for script in VERSIONS.glob("*.py"):
        for kind, revision in _REVISION.findall(script.read_text()):
            named[kind].add(revision)
    return named["revision"] - named["down_revision"]


async def until(holds: Callable[[], Awaitable[bool]], within: float | None = None) -> bool:
    """Ask again and again, at most so many seconds; whether it came to hold."""
    try:
        async with asyncio.timeout(within):
            while not await holds():  # noqa: ASYNC110 - another process changes it, and sends no event
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        return False
    return True


async def healthy(address: Address) -> bool:
    """Whether the API answers."""
    status, _ = await _get(address, "/api/v1/health")
    return status == 200


async def worker_alive(address: Address) -> bool:
    """Whether the API sees the heartbeat of a worker."""
    _, body = await _get(address, "/api/v1/health/ready")
    try:
        return bool(json.loads(body)["checks"]["worker"]["status"] == "healthy")
    except (ValueError, KeyError, TypeError):
        return False


async def _get(address: Address, path: str) -> tuple[int, bytes]:
    """Status and body; status 0 when there is no answer."""
    writer = None
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            return int(head.split(b" ", 2)[1]), body
    except (OSError, TimeoutError, ValueError, IndexError):
        return 0, b""
    finally:
        if writer is not None:
            writer.close()
