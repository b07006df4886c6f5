"""A migration beside a service: it takes as long as it needs, but locks for moments only, and can be run again."""

import asyncio
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.util import CommandError

from app.core import db as core_db
from app.core.config import settings
from app.tools import migrate
from app.tools.migrating import APPLICATION, migration_engine, patiently
from tests.databases import own_database
from tests.flows import Account
from tests.locks import WAITING, open_transaction, watched
from tests.processes import tail
from tests.schema import answer, look, run, shape
from tests.services import Services, execute
from tests.trees import EXPAND, INDEX, Tree
from tests.waiting import eventually

pytestmark = pytest.mark.both_ways

BETWEEN_STATEMENTS = f"""
    SELECT query_start FROM pg_stat_activity
    WHERE application_name = '{APPLICATION}' AND datname = current_database() AND state = 'idle'
"""
INVALID = "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid"
Start = Callable[..., "Popen[bytes]"]
on_server, on_sqlite = pytest.mark.stack(name="server"), pytest.mark.stack(name="embedded")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "alembic")


@pytest.fixture
def url(services: Services) -> str:
    """A migrated database of the test's own."""
    return own_database(services, "migrating")


@pytest.fixture
def log(services: Services) -> Path:
    return services.log(f"migrating-{secrets.token_hex(4)}")


@pytest.fixture
def start(tree: Tree, log: Path) -> Iterator[Start]:
    """Migrate as a process: `start(url)`. It ends with the test."""
    started: list[Popen[bytes]] = []

    def begin(url: str, *command: str) -> "Popen[bytes]":
        started.append(tree.start(log, url, *command))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


async def version(url: str) -> str:
    return str(await answer(url, "SELECT version_num FROM alembic_version"))


async def ended(process: Any) -> int:
    return int(await asyncio.to_thread(process.wait, 60))


# --- time -----------------------------------------------------------------------------------------------------------


@on_server
async def test_a_migration_may_take_longer_than_a_request(
    tree: Tree, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_db, "STATEMENT_TIMEOUT", timedelta(seconds=0.5))  # of server and driver
    with pytest.raises((sa.exc.DBAPIError, TimeoutError)):  # the server's, the driver's
        await run(url, "SELECT pg_sleep(1)")
    tree.add("9001", 'op.execute("SELECT pg_sleep(1)")\nimport time\ntime.sleep(1)\nop.execute("SELECT 1")')
    tree.upgrade(url)


# --- locks ----------------------------------------------------------------------------------------------------------


@on_server
async def test_a_migration_that_waits_for_a_lock_does_not_stop_the_service(
    tree: Tree, account: Account, log: Path, start: Start
) -> None:
    """Else each request would wait behind it until the transaction ends that it waits for."""
    url = settings.database_url
    tree.add("9001", 'op.add_column("users", sa.Column("planted", sa.Integer()))', 'op.drop_column("users", "planted")')
    try:
        async with open_transaction(url, "SELECT 1 FROM users") as reading, watched(url) as waits:
            process = start(url)
            for _ in range(3):
                await eventually(lambda: execute(url, WAITING))
                assert (await account.login()).status_code == 200
            assert process.poll() is None, tail(log)
            await reading.rollback()
            assert await ended(process) == 0, tail(log)
        assert await version(url) == "9001"
        assert waits.looks
        assert waits.longest < 1
    finally:
        tree.downgrade(url, migrate.head())


@on_server
async def test_what_is_tried_again_goes_no_further_down(tree: Tree, url: str, log: Path, start: Start) -> None:
    before = await version(url)
    for revision, table in (("9001", "mail_budgets"), ("9002", "leases")):
        tree.add(revision, f'op.add_column("{table}", sa.Column("planted", sa.Integer()))',
                 f'op.drop_column("{table}", "planted")')  # fmt: skip
    tree.upgrade(url)
    async with open_transaction(url, "SELECT 1 FROM mail_budgets") as reading:
        process = start(url, "downgrade", "-2")
        await eventually(lambda: execute(url, WAITING))
        assert await version(url) == "9001"
        await eventually(lambda: not execute(url, WAITING))  # it has given up for now
        await reading.rollback()
        assert await ended(process) == 0, tail(log)
    assert await version(url) == before


@on_server
async def test_a_lock_that_never_comes_is_told(url: str) -> None:
    engine = migration_engine(url)

    def lock(connection: Any) -> None:
        with connection.begin():
            connection.execute(sa.text("LOCK TABLE leases"))

    try:
        async with open_transaction(url, "SELECT 1 FROM leases") as reading, engine.connect() as connection:
            began = time.monotonic()
            with pytest.raises(CommandError, match="at each of 2 attempts"):
                await connection.run_sync(lambda sync: patiently(lambda: lock(sync), attempts=2))
            assert time.monotonic() - began < 5
            await reading.rollback()
            await connection.run_sync(lambda sync: patiently(lambda: lock(sync), attempts=1))
    finally:
        await engine.dispose()


@on_sqlite
def test_a_writer_of_sqlite_is_waited_for(url: str) -> None:
    engine = sa.create_engine(url, connect_args={"timeout": 0})
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")

        def write() -> None:
            try:
                with engine.begin() as connection:
                    connection.exec_driver_sql("DELETE FROM leases")
            except sa.exc.OperationalError:
                writer.execute("COMMIT")
                raise

        with pytest.raises(CommandError):
            patiently(write, attempts=1)
        writer.execute("BEGIN IMMEDIATE")
        patiently(write, attempts=2)
    engine.dispose()


# --- an index beside writers ------------------------------------------------------------------------------------------


@on_server
async def test_an_index_whose_building_was_killed_is_built(tree: Tree, url: str, log: Path, start: Start) -> None:
    """PostgreSQL keeps the half of it, which is INVALID: written by all, and read by nobody."""
    tree.add_example()
    tree.upgrade(url, INDEX)
    whole = await look(url, shape)
    tree.downgrade(url, "-1")
    async with open_transaction(url, "UPDATE users SET locale = locale") as writing:
        process = start(url, "upgrade", INDEX)
        await eventually(lambda: execute(url, INVALID))
        process.kill()
        await eventually(lambda: not execute(url, WAITING))  # PostgreSQL has seen it, too
        again = start(url, "upgrade", INDEX)
        await eventually(lambda: execute(url, WAITING))
        await writing.rollback()
        assert await ended(again) == 0, tail(log)
    assert not execute(url, INVALID)
    assert await look(url, shape) == whole


@on_server
async def test_who_waits_for_its_turn_is_in_no_transaction(tree: Tree, url: str, log: Path, start: Start) -> None:
    """The building of an index waits for every transaction, and would wait for this one in turn."""
    tree.add_example()
    tree.upgrade(url, EXPAND)
    tries = set()

    def asks_again_and_again() -> bool:
        tries.update(row["query_start"] for row in execute(url, BETWEEN_STATEMENTS))
        return len(tries) >= 5

    async with open_transaction(url, "UPDATE users SET locale = locale") as writing:
        building = start(url, "upgrade", INDEX)
        await eventually(lambda: execute(url, INVALID))
        waiting = start(url, "upgrade", INDEX)
        await eventually(asks_again_and_again)
        await writing.rollback()
        assert [await ended(building), await ended(waiting)] == [0, 0], tail(log)
    assert not execute(url, INVALID)


async def test_several_processes_may_build_an_index_at_once(tree: Tree, url: str, log: Path, start: Start) -> None:
    tree.add_example()
    started = [start(url) for _ in range(3)]
    assert [await ended(process) for process in started] == [0, 0, 0], tail(log)
    assert await version(url) == tree.newest


@pytest.mark.parametrize(
    "step",
    [
        'online.backfill("users", "planted = 1", where="planted IS NULL")',
        'online.create_index("ix_planted", "users", ["planted"])',
        'online.drop_index("ix_users_staff", "users")',
        'online.require_value("users", "planted", sa.Integer())',
    ],
)
async def test_what_commits_stands_first_in_its_revision(tree: Tree, url: str, step: str) -> None:
    """A kill would leave what came before it committed, and the revision could not be run again."""
    before = await look(url, shape)
    tree.add(
        "9001",
        f'op.add_column("users", sa.Column("planted", sa.Integer()))\n{step}',
    )
    with pytest.raises(CommandError, match="a revision of its own"):
        tree.upgrade(url)
    assert await look(url, shape) == before


# --- rows in batches --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1, 20, 45])
async def test_every_row_is_filled_once(tree: Tree, url: str, rows: int) -> None:
    columns = "INSERT INTO mail_budgets (address, promised, updated_at)"
    await run(url, *(f"{columns} VALUES ('{number}', '[]', '2026-01-01 00:00:00')" for number in range(rows)))
    tree.add("9001", 'op.add_column("mail_budgets", sa.Column("planted", sa.Integer(), server_default="0"))')
    fill = 'online.backfill("mail_budgets", "planted = planted + 1", where="planted = 0", key="address", batch=20)'
    tree.add("9002", f"assert {fill} == {rows}\nassert {fill} == 0")
    tree.upgrade(url)
    assert await answer(url, "SELECT coalesce(sum(planted), 0) FROM mail_budgets") == rows
