"""The two roles of production, made by the file that a fresh PostgreSQL runs, on a server of this test's own."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from httpx2 import AsyncClient

from app.tools import migrate
from tests.audits import Audit
from tests.binaries import postgres_binaries
from tests.flows import V1, Account
from tests.services import BACKEND, Running
from tests.stack import Server

ROLES = BACKEND.parent / "deploy" / "postgres" / "roles.sql"
START = Callable[..., Awaitable[Server]]


@pytest.fixture
async def bare(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The superuser's URL on an empty PostgreSQL; he is called postgres, as in the image."""
    monkeypatch.delenv("TEST_DATABASE_URL", raising=False)
    monkeypatch.delenv("TEST_REDIS_URL", raising=False)
    running = await asyncio.to_thread(Running, "server")
    try:
        first = running.services.postgres_url
        url = as_role(first, "postgres", "postgres-password")
        await run(first, "CREATE ROLE postgres SUPERUSER LOGIN PASSWORD 'postgres-password'")
        await run(url, "ALTER ROLE neoforge RENAME TO bootstrap")
        yield url
        await run(url, "ALTER ROLE neoforge RENAME TO owner", "ALTER ROLE bootstrap RENAME TO neoforge")
        await run(url, f"ALTER ROLE neoforge PASSWORD '{urlsplit(first).password}'")
    finally:
        await asyncio.to_thread(running.end)


def as_role(url: str, role: str, password: str, database: str = "postgres") -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{parts.hostname}:{parts.port}", path=f"/{database}"))


async def run(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_the_api_runs_as_a_role_that_cannot_change_the_schema(bare: str, tmp_path: Path, server: START) -> None:
    secrets = {"owner_password": "owner's-own", "app_password": "app's-own"}
    for name, value in secrets.items():
        (tmp_path / name).write_text(value)
    psql = postgres_binaries(tmp_path) / "psql"
    command = [psql, "--no-psqlrc", "--quiet", "--file", ROLES, bare]
    env = {**os.environ, "SECRETS_DIR": str(tmp_path)}
    done = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    owner = as_role(bare, "neoforge", secrets["owner_password"], "neoforge")
    runtime = as_role(bare, "neoforge_app", secrets["app_password"], "neoforge")

    await asyncio.to_thread(migrate.upgrade, owner)
    api = await server(DATABASE_URL=runtime, REDIS_PREFIX="roles:")
    async with AsyncClient(base_url=api.url, trust_env=False) as client:
        account = Account(client)
        assert (await account.register()).status_code == 201
        assert (await account.login()).status_code == 200
        assert (await account.me()).status_code == 200
        checks = (await client.get(f"{V1}/health/ready")).json()["checks"]
        assert checks["database"]["status"] == checks["migrations"]["status"] == "healthy"

    for refused in ("CREATE TABLE mine (id int)", "DROP TABLE users", "ALTER TABLE users ADD x int", "TRUNCATE users"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await run(runtime, refused)
    await the_audit_is_only_added_to(runtime)
    await run(bare, "CREATE ROLE stranger LOGIN PASSWORD 'x'")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run(as_role(bare, "stranger", "x", "neoforge"), "SELECT 1")


async def the_audit_is_only_added_to(runtime: str) -> None:
    """The role of the processes writes events and seals them; it has not the right to change or delete one."""
    audit = Audit(runtime)
    try:
        await audit.sealed(2)
        assert (await audit.verify()).holds
    finally:
        await audit.engine.dispose()
    for table in ("audit_events", "audit_seals"):
        for refused in (
            f"UPDATE {table} SET created_at = now()",
            f"DELETE FROM {table}",
            f"TRUNCATE {table} CASCADE",
            f"ALTER TABLE {table} DISABLE TRIGGER USER",
            f"DROP TRIGGER {table}_refuse ON {table}",
            "SET session_replication_role = replica",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"permission denied|must be owner"):
                await run(runtime, refused)
