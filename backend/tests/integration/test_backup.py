"""`neoforge db backup` and `restore`: all that was there is there again, or all that is there stays."""

import asyncio
import os
import secrets
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlmodel import SQLModel

from app.core.db import build_engine
from app.core.process import CannotRun
from app.tools import migrate, postgresql
from tests.commands import neoforge
from tests.databases import empty_database, own_database
from tests.fixtures import NewClient
from tests.flows import Account
from tests.integration.test_migrations import named
from tests.schema import look, run
from tests.services import BACKEND, Services, execute
from tests.unit.test_cli import assert_one_line
from tests.waiting import eventually

pytestmark = pytest.mark.both_ways

WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
number = 0
while True:
    number += 1
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO one VALUES (?, randomblob(2000))", (number,))
    connection.execute("INSERT INTO other VALUES (?, randomblob(2000))", (number,))
    connection.execute("COMMIT")
    if number == 50:
        print("going", flush=True)
"""


@pytest.fixture
def source(services: Services) -> str:
    """A migrated database."""
    return own_database(services, "backed-up")


@pytest.fixture
def target(services: Services) -> str:
    """A database with nothing in it."""
    return empty_database(services, f"restored-{secrets.token_hex(4)}")


def backup(url: str, file: Path) -> None:
    done = neoforge("db", "backup", str(file), DATABASE_URL=url)
    assert done.returncode == 0, done.stderr


async def rows(url: str) -> dict[str, list[Any]]:
    """Every row of every table of the models."""
    engine = build_engine(url, pool_size=1)
    try:
        async with engine.connect() as connection:
            return {
                table.name: sorted((tuple(row) for row in (await connection.execute(sa.select(table))).all()), key=str)
                for table in SQLModel.metadata.sorted_tables
            }
    finally:
        await engine.dispose()


async def with_a_mark(url: str, mark: str) -> None:
    """A row that tells one database from another."""
    await run(url, f"INSERT INTO paused_queues (name, paused_at) VALUES ('{mark}', '2026-11-28 12:00:00.000000')")


async def test_who_was_signed_in_goes_on_in_the_restored_system(
    source: str, target: str, server: Any, new_client: NewClient, tmp_path: Path
) -> None:
    file = tmp_path / "app.backup"
    old = await server(DATABASE_URL=source)
    account = Account(new_client(old.url))
    assert (await account.register()).status_code == 201
    assert (await account.login()).status_code == 200
    made = neoforge("db", "backup", str(file), DATABASE_URL=source)  # while it is in use
    assert made.returncode == 0, made.stderr
    assert f"revision {migrate.head()}" in made.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["app.backup"]
    old.stop()
    before = await rows(source)
    restored = neoforge("db", "restore", str(file), DATABASE_URL=target)
    assert restored.returncode == 0, restored.stderr
    assert "each compared" in restored.stdout
    assert f"revision {migrate.head()}, the newest" in restored.stdout
    after = await rows(target)
    assert {name for name in before if before[name] != after[name]} <= {"heartbeats"}
    assert await look(target, named) == await look(source, named)
    migrate.check(target)
    new = await server(DATABASE_URL=target)
    again = Account(new_client(new.url), account.email, account.password, account.pair)
    assert (await again.me()).status_code == 200
    assert (await again.refresh()).status_code == 200
    assert (await again.login()).status_code == 200


async def test_an_older_revision_is_restored_and_then_upgraded(target: str, services: Services, tmp_path: Path) -> None:
    old = empty_database(services, f"older-{secrets.token_hex(4)}")
    migrate.upgrade(old, "0006")
    backup(old, tmp_path / "old")
    restored = neoforge("db", "restore", str(tmp_path / "old"), DATABASE_URL=target)
    assert restored.returncode == 0, restored.stderr
    assert f"revision 0006, the newest is {migrate.head()}: run `neoforge db upgrade`" in restored.stdout
    assert neoforge("db", "upgrade", DATABASE_URL=target).returncode == 0
    migrate.check(target)


async def test_a_newer_revision_is_refused(source: str, target: str, tmp_path: Path) -> None:
    await run(source, "UPDATE alembic_version SET version_num = '9999'")
    backup(source, tmp_path / "newer")
    refused = neoforge("db", "restore", str(tmp_path / "newer"), DATABASE_URL=target)
    assert refused.returncode == 1
    assert "9999" in refused.stderr
    assert await look(target, lambda inspector: inspector.get_table_names()) == []


async def test_what_is_there_is_replaced_only_when_asked(source: str, services: Services, tmp_path: Path) -> None:
    other = own_database(services, "replaced")
    await with_a_mark(source, "backed-up")
    await with_a_mark(other, "before")
    await run(other, "CREATE TABLE later (id INTEGER PRIMARY KEY)")
    backup(source, tmp_path / "file")
    before = await rows(other)
    refused = neoforge("db", "restore", str(tmp_path / "file"), DATABASE_URL=other)
    assert refused.returncode == 1
    assert "--replace" in refused.stderr
    assert await rows(other) == before
    done = neoforge("db", "restore", "--replace", str(tmp_path / "file"), DATABASE_URL=other)
    assert done.returncode == 0, done.stderr
    assert await rows(other) == await rows(source)
    assert "later" not in await look(other, lambda inspector: inspector.get_table_names())


async def test_a_damaged_file_is_refused_before_anything_is_touched(source: str, tmp_path: Path) -> None:
    await with_a_mark(source, "before")
    backup(source, tmp_path / "whole")
    whole, before = (tmp_path / "whole").read_bytes(), await rows(source)
    middle = len(whole) // 2
    altered = whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 4096]) + whole[middle + 4096 :]
    for name, content in {"cut": whole[:middle], "altered": altered, "empty": b"", "other": b"a text"}.items():
        (tmp_path / name).write_bytes(content)
        refused = neoforge("db", "restore", "--replace", str(tmp_path / name), DATABASE_URL=source)
        assert refused.returncode == 1, name
        assert refused.stderr.count("\n") == 1
        assert str(tmp_path / name) in refused.stderr
    assert neoforge("db", "restore", "--replace", str(tmp_path / "none"), DATABASE_URL=source).returncode == 1
    assert await rows(source) == before


async def test_a_backup_takes_the_place_of_no_file(source: str, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for file in (tmp_path / "kept", tmp_path / "link", tmp_path / "no" / "folder"):
        refused = neoforge("db", "backup", str(file), DATABASE_URL=source)
        assert refused.returncode == 1
        assert str(file) in refused.stderr
    assert (tmp_path / "kept").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "link"]


async def test_a_backup_of_the_other_engine_is_told(source: str, tmp_path: Path) -> None:
    other = b"SQLite format 3\0" if source.startswith("postgresql") else b"PGDMP"
    (tmp_path / "other").write_bytes(other)
    refused = neoforge("db", "restore", str(tmp_path / "other"), DATABASE_URL=source)
    assert refused.returncode == 1
    assert "neoforge db copy" in refused.stderr


# --- SQLite ---------------------------------------------------------------------------------------------------------


@pytest.mark.stack(name="embedded")
def test_a_backup_is_one_moment_of_a_database_that_is_being_written(source: str, tmp_path: Path) -> None:
    database = make_url(source).database
    assert database is not None
    with closing(sqlite3.connect(database)) as connection:
        for table in ("one", "other"):
            connection.execute(f"CREATE TABLE {table} (number INTEGER PRIMARY KEY, data BLOB)")
    with subprocess.Popen([sys.executable, "-c", WRITER, database], stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "going\n"
            for number in range(5):
                backup(source, tmp_path / f"{number}")
        finally:
            writer.kill()
    counted = []
    for number in range(5):
        with closing(sqlite3.connect(tmp_path / f"{number}")) as copied:
            assert copied.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            both = [copied.execute(f"SELECT count(*), max(number) FROM {name}").fetchone() for name in ("one", "other")]
            assert both[0] == both[1]
            counted.append(both[0][0])
    assert counted == sorted(counted)
    assert counted[0] >= 50


@pytest.mark.stack(name="embedded")
async def test_a_database_that_is_damaged_is_told_when_it_is_backed_up(source: str, tmp_path: Path) -> None:
    """An index that has not what it says: whoever asks by it finds nothing."""
    await run(source, "CREATE INDEX ix ON installation (secret_check)", "UPDATE installation SET secret_check = 'x'")
    with closing(sqlite3.connect(str(make_url(source).database))) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, '(secret_check)', '(uid)') WHERE name = 'ix'")
        connection.commit()
    refused = neoforge("db", "backup", str(tmp_path / "file"), DATABASE_URL=source)
    assert refused.returncode == 1
    assert "is damaged" in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.stack(name="embedded")
async def test_a_restore_that_runs_out_of_room_loses_nothing(source: str, services: Services, tmp_path: Path) -> None:
    """The system refuses files that are larger than what the database has, and smaller than the backup."""
    other = own_database(services, "full")
    await with_a_mark(other, "before")
    await run(source, "CREATE TABLE large (data BLOB)", "INSERT INTO large VALUES (zeroblob(4000000))")
    backup(source, tmp_path / "large")
    before, database = await rows(other), Path(str(make_url(other).database))
    command = f'ulimit -f 2000; exec "{sys.executable}" -m app.cli db restore --replace "{tmp_path}/large"'
    environment = {**os.environ, "DATABASE_URL": other}
    environment.pop("COVERAGE_PROCESS_CONFIG", None)  # it writes a file too
    limited = ["bash", "-c", command]
    done = subprocess.run(limited, cwd=BACKEND, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    assert "has what it had before" in done.stderr
    assert await rows(other) == before
    assert [path.name for path in database.parent.glob(f"{database.name}.before-restore-*")] == []


@pytest.mark.stack(name="embedded")
async def test_a_backup_that_runs_out_of_room_leaves_nothing(source: str, tmp_path: Path) -> None:
    await run(source, "CREATE TABLE large (data BLOB)", "INSERT INTO large VALUES (zeroblob(4000000))")
    command = f'ulimit -f 2000; exec "{sys.executable}" -m app.cli db backup "{tmp_path}/file"'
    environment = {**os.environ, "DATABASE_URL": source}
    environment.pop("COVERAGE_PROCESS_CONFIG", None)  # it writes a file too
    limited = ["bash", "-c", command]
    done = subprocess.run(limited, cwd=BACKEND, env=environment, capture_output=True, text=True, timeout=60)
    assert_one_line(done, 1, f"{tmp_path}/file cannot be written")
    assert list(tmp_path.iterdir()) == []


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


@pytest.mark.stack(name="server")
async def test_a_restore_whose_rows_are_not_those_of_the_backup_is_undone(
    source: str, services: Services, tmp_path: Path
) -> None:
    """pg_dump writes times in the time zone that it is told: rows that come back in another have another text."""
    other = own_database(services, "compared")
    await with_a_mark(source, "backed-up")
    await with_a_mark(other, "before")
    name, environment = postgresql.told(source)
    dump = [str(postgresql.program("pg_dump", server_version(source))), "-Fc", f"-f{tmp_path}/dump", f"-d{name}"]
    subprocess.run(dump, env={**environment, "PGTZ": "Asia/Tokyo"}, check=True, timeout=60)
    before = await rows(other)
    refused = neoforge("db", "restore", "--replace", str(tmp_path / "dump"), DATABASE_URL=other)
    assert refused.returncode == 1
    assert "paused_queues" in refused.stderr
    assert "nothing was changed" in refused.stderr
    assert await rows(other) == before


@pytest.mark.stack(name="server")
async def test_a_restore_that_fails_halfway_loses_nothing(source: str, services: Services, tmp_path: Path) -> None:
    """The backup grants something to a role that is not there any more."""
    other, role = own_database(services, "halfway"), f"neoforge_test_{secrets.token_hex(4)}"
    await with_a_mark(source, "backed-up")
    await with_a_mark(other, "before")
    execute(source, f"CREATE ROLE {role}", f"GRANT SELECT ON users TO {role}")
    try:
        backup(source, tmp_path / "file")
    finally:
        execute(source, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
    before = await rows(other)
    refused = neoforge("db", "restore", "--replace", str(tmp_path / "file"), DATABASE_URL=other)
    assert refused.returncode == 1
    assert role in refused.stderr
    assert "--no-privileges" in refused.stderr
    assert await rows(other) == before
    done = neoforge("db", "restore", "--replace", "--no-privileges", str(tmp_path / "file"), DATABASE_URL=other)
    assert done.returncode == 0, done.stderr
    assert await rows(other) == await rows(source)


@pytest.mark.stack(name="server")
async def test_grants_and_sequences_come_back(source: str, target: str, tmp_path: Path) -> None:
    role = f"neoforge_test_{secrets.token_hex(4)}"
    await run(source, *["INSERT INTO changes (topic, subject, xid, created_at) VALUES ('t', 's', 1, now())"] * 3)
    execute(source, f"CREATE ROLE {role}", f"GRANT SELECT ON users TO {role}")
    try:
        backup(source, tmp_path / "file")
        assert neoforge("db", "restore", str(tmp_path / "file"), DATABASE_URL=target).returncode == 0
        assert execute(target, f"SELECT has_table_privilege('{role}', 'users', 'SELECT')")[0][0]
        await run(target, "INSERT INTO changes (topic, subject, xid, created_at) VALUES ('t', 's', 1, now())")
        last = [execute(url, "SELECT max(id) FROM changes")[0][0] for url in (source, target)]
        assert last[1] == last[0] + 1
    finally:
        execute(target, f"DROP OWNED BY {role}")
        execute(source, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.stack(name="server")
async def test_sequences_of_columns_and_comments_come_back(source: str, target: str, tmp_path: Path) -> None:
    await run(
        source,
        "CREATE TABLE gen (a serial, c int GENERATED ALWAYS AS IDENTITY)",
        "CREATE SEQUENCE alone",
        "COMMENT ON TABLE gen IS 'it''s\nmade'",
        "COMMENT ON COLUMN gen.c IS 'a number'",
        "INSERT INTO gen DEFAULT VALUES",
    )
    backup(source, tmp_path / "file")
    for more in ([], ["--replace"]):
        done = neoforge("db", "restore", *more, str(tmp_path / "file"), DATABASE_URL=target)
        assert done.returncode == 0, done.stderr
    said = "SELECT obj_description('gen'::regclass), col_description('gen'::regclass, 2), nextval('alone')"
    assert [tuple(row) for row in execute(target, said)] == [("it's\nmade", "a number", 1)]
    await run(target, "INSERT INTO gen DEFAULT VALUES")
    assert [tuple(row) for row in execute(target, "SELECT a, c FROM gen ORDER BY a")] == [(1, 1), (2, 2)]


@pytest.mark.stack(name="server")
async def test_other_schemas_come_back_into_an_empty_database_alone(source: str, target: str, tmp_path: Path) -> None:
    await run(source, "CREATE SCHEMA shop", "CREATE TABLE shop.goods (n int)", "INSERT INTO shop.goods VALUES (7)")
    backup(source, tmp_path / "file")
    assert neoforge("db", "restore", str(tmp_path / "file"), DATABASE_URL=target).returncode == 0
    await run(target, "UPDATE shop.goods SET n = 8")
    refused = neoforge("db", "restore", "--replace", str(tmp_path / "file"), DATABASE_URL=target)
    assert_one_line(refused, 1, "shop", "empty one")
    assert execute(target, "SELECT n FROM shop.goods")[0][0] == 8


@pytest.mark.stack(name="server")
async def test_large_objects_are_refused_by_the_name_that_was_asked_for(source: str, tmp_path: Path) -> None:
    await run(source, "SELECT lo_from_bytea(0, 'x')")
    refused = neoforge("db", "backup", str(tmp_path / "asked"), DATABASE_URL=source)
    assert_one_line(refused, 1, f"{tmp_path}/asked would have large objects", "pg_restore")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.stack(name="server")
async def test_a_restore_that_is_killed_loses_nothing(source: str, services: Services, tmp_path: Path) -> None:
    """It waits for a table that somebody reads; by then it has dropped others."""
    other = own_database(services, "killed")
    await with_a_mark(other, "before")
    backup(source, tmp_path / "file")
    before = await rows(other)
    reader = await asyncpg.connect(other)
    await reader.execute("BEGIN; SELECT 1 FROM user_sessions")
    command = [sys.executable, "-m", "app.cli", "db", "restore", "--replace", str(tmp_path / "file")]
    environment = {**os.environ, "DATABASE_URL": other}
    restoring = await asyncio.create_subprocess_exec(*command, env=environment, cwd=BACKEND)
    await eventually(lambda: execute(other, "SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0] > 0)
    restoring.send_signal(signal.SIGKILL)
    await restoring.wait()
    await reader.close()
    assert await rows(other) == before
    done = neoforge("db", "restore", "--replace", str(tmp_path / "file"), DATABASE_URL=other)
    assert done.returncode == 0, done.stderr


@pytest.mark.stack(name="server")
def test_the_password_is_not_among_the_arguments(source: str, tmp_path: Path) -> None:
    """Beside the real programs, as the first on PATH, one that notes how it was called and becomes the real one."""
    real, own = postgresql.program("pg_dump", server_version(source)), tmp_path / "bin"
    own.mkdir()
    script = f'#!/bin/sh\necho "$PGPASSWORD|$*" >> {tmp_path}/called\nexec {real} "$@"\n'
    (own / "pg_dump").write_text(script)
    (own / "pg_dump").chmod(0o755)
    url = make_url(source).set(password="plum-otter-42").render_as_string(hide_password=False)
    path = f"{own}:{os.environ['PATH']}"
    done = neoforge("db", "backup", str(tmp_path / "file"), DATABASE_URL=source, PATH=path)
    assert done.returncode == 0, done.stderr
    (called,) = [line for line in (tmp_path / "called").read_text().splitlines() if "--format" in line]
    password, _, arguments = called.partition("|")
    assert password == (make_url(source).password or "")
    assert not password or password not in arguments
    assert "plum-otter-42" not in postgresql.told(url)[0]


def server_version(url: str) -> int:
    return int(execute(url, "SHOW server_version_num")[0][0]) // 10_000


@pytest.mark.any_server
def test_programs_that_are_missing_or_too_old_are_told() -> None:
    with pytest.raises(CannotRun, match="pg_nothing is not installed"):
        postgresql.program("pg_nothing")
    with pytest.raises(CannotRun, match=r"older than the server's 99"):
        postgresql.program("pg_dump", 99)
    assert postgresql.program("pg_dump", 15).is_file()
