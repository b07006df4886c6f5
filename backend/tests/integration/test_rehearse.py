"""`neoforge db rehearse`: the next migrations on a masked copy, by code that is a revision ahead."""

import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.tools import migrate
from tests.copying import all_rows, insert, row_of
from tests.databases import empty_database, own_database
from tests.schema import look, run, shape
from tests.services import BACKEND, Services, execute
from tests.waiting import eventually

pytestmark = pytest.mark.any_server
NEXT = '''"""{about}"""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    {up}


def downgrade() -> None:
    {down}
'''
KEEPS = (
    'op.create_index("ix_users_locale", "users", ["locale"])',
    'op.drop_index("ix_users_locale", "users")',
)
LOSES = (
    'op.drop_column("users", "full_name")',
    'op.add_column("users", sa.Column("full_name", sa.String(200)))',
)
FAILS = ('op.execute("SELECT one FROM nowhere")', "pass")


@pytest.fixture
def ahead(tmp_path: Path) -> Path:
    """A copy of the code, to put migrations into."""
    folder = tmp_path / "ahead"
    for name in ("app", "alembic"):
        shutil.copytree(BACKEND / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(BACKEND / "alembic.ini", folder)
    return folder


def add(folder: Path, revision: str, before: str, way: tuple[str, str]) -> None:
    text = NEXT.format(about="One more.", revision=revision, before=before, up=way[0], down=way[1])
    (folder / "alembic" / "versions" / f"{revision}.py").write_text(text)


def rehearse(folder: Path, url: str, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "db", "rehearse", "--from", url, *options],
        cwd=folder, env={**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(folder), **env},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.fixture
async def source(services: Services) -> str:
    """A database in use, at the newest revision that its own code knows."""
    url = own_database(services, "rehearsed")
    users = [row_of("users", email=f"person-{n}@example.com", full_name=f"Person {n}") for n in range(50)]
    sessions = [row_of("user_sessions", user_id=user["id"]) for user in users]
    await insert(url, [*(("users", one) for one in users), *(("user_sessions", one) for one in sessions)])
    return url


def scratches(services: Services) -> list[object]:
    if services.stack != "server":
        return []
    return list(
        execute(services.postgres_url, "SELECT datname FROM pg_database WHERE datname LIKE 'neoforge_rehearsal%'")
    )


async def test_each_step_is_told_and_the_source_is_as_it_was(ahead: Path, source: str, services: Services) -> None:
    add(ahead, "9001", migrate.head(), KEEPS)
    add(ahead, "9002", "9001", LOSES)
    before = await all_rows(source)
    done = rehearse(ahead, source)
    assert done.returncode == 0, done.stdout + done.stderr
    first, *steps, last = done.stdout.splitlines()
    assert re.fullmatch(r"101 rows copied in [\d.]+ s, masked", first)
    told = [line.split()[:2] for line in steps]
    up, down = [["9001", "up"], ["9002", "up"]], [["9002", "down"], ["9001", "down"]]
    assert told == [*up, *down, *up]
    if services.stack == "server":
        assert steps[0].endswith("users ShareLock")
        assert steps[1].endswith("users AccessExclusiveLock")
    assert last == "rows are others after up and down in: users"
    assert await all_rows(source) == before
    await eventually(lambda: scratches(services) == [])  # others may have one at this moment


async def test_what_loses_nothing_is_said_to_lose_nothing(ahead: Path, source: str) -> None:
    add(ahead, "9001", migrate.head(), KEEPS)
    done = rehearse(ahead, source)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "up and down lost nothing"), done.stderr


async def test_a_named_database_is_used_and_stays_for_looking_at(
    ahead: Path, source: str, services: Services, tmp_path: Path
) -> None:
    add(ahead, "9001", migrate.head(), KEEPS)
    server = services.stack == "server"
    to = empty_database(services, f"looked-at-{secrets.token_hex(4)}") if server else f"sqlite:///{tmp_path}/looked.db"
    done = rehearse(ahead, source, "--to", to)
    assert done.returncode == 0, done.stdout + done.stderr
    users = (await all_rows(to))["users"]
    assert len(users) == 50
    assert "person-" not in str(users)


async def test_a_database_with_tables_is_not_rehearsed_in(ahead: Path, source: str, services: Services) -> None:
    """Somebody's database at an earlier revision would be migrated before its rows were seen."""
    add(ahead, "9001", migrate.head(), KEEPS)
    somebodys = own_database(services, "somebodys")
    migrate.downgrade(somebodys, "0005")
    before = await look(somebodys, shape)
    refused = rehearse(ahead, source, "--to", somebodys)
    assert (refused.returncode, "not empty" in refused.stderr) == (1, True), refused.stderr
    assert await look(somebodys, shape) == before


async def test_a_migration_that_fails_is_told_and_leaves_nothing(ahead: Path, source: str, services: Services) -> None:
    add(ahead, "9001", migrate.head(), FAILS)
    done = rehearse(ahead, source)
    assert (done.returncode, "nowhere" in done.stderr) == (1, True), done.stderr
    await eventually(lambda: scratches(services) == [])  # others may have one at this moment


@pytest.mark.stack(name="server")
async def test_a_rehearsal_that_is_told_to_stop_leaves_nothing(
    ahead: Path, source: str, services: Services, tmp_path: Path
) -> None:
    add(ahead, "9001", migrate.head(), ('op.execute("SELECT pg_sleep(60)")', "pass"))
    command = [sys.executable, "-m", "app.cli", "db", "rehearse", "--from", source]
    env = {**os.environ, "DATABASE_URL": source, "PYTHONPATH": str(ahead), "LOG_LEVEL": "INFO"}
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(command, cwd=ahead, env=env, stdout=log, stderr=log)
        try:
            await eventually(lambda: "-> 9001" in (tmp_path / "log").read_text())
            running.terminate()
            assert running.wait(30) == 1
        finally:
            running.kill()
    await eventually(lambda: scratches(services) == [])  # others may have one at this moment


async def test_there_is_nothing_to_rehearse_at_the_newest_revision_or_at_an_unknown_one(
    ahead: Path, source: str
) -> None:
    done = rehearse(ahead, source)
    assert (done.returncode, "nothing to rehearse" in done.stderr) == (1, True)
    await run(source, "UPDATE alembic_version SET version_num = 'ours'")
    done = rehearse(ahead, source)
    assert (done.returncode, "does not know" in done.stderr) == (1, True)
