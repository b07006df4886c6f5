"""`neoforge db copy`: every row of a SQLite database stands in PostgreSQL, as it was, or nothing does."""

import asyncio
import hashlib
import json
import random
import secrets
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as given_settings
from sqlmodel import SQLModel

import app.models  # noqa: F401 - registers every table
from app.tools import migrate
from app.tools.copying import copy as copies
from tests.copying import all_rows, command, copy, insert, many_users, of, row_of, rows, same
from tests.databases import empty_database
from tests.faults.stack import rounds
from tests.fixtures import NewClient
from tests.flows import Account
from tests.schema import look, run, shape
from tests.services import BACKEND, Services, execute

pytestmark = [pytest.mark.stack(name="server"), pytest.mark.any_server]  # what is copied to is PostgreSQL
TRIGGERS = "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2"


# --- what is copied -------------------------------------------------------------------------------------------------


@given_settings(
    max_examples=rounds(40, 3), deadline=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(drawn=rows)
def test_every_value_is_what_it_was(migrated: Path, services: Services, tmp_path: Path, drawn: list[Any]) -> None:
    source = Path(shutil.copy(migrated, tmp_path / f"{secrets.token_hex(4)}.db"))
    target = empty_database(services, f"copied-{secrets.token_hex(4)}")
    asyncio.run(insert(f"sqlite:///{source}", of(drawn)))
    assert asyncio.run(copies.copy(f"sqlite:///{source}", target, lambda *_: None)).is_proven
    there, here = asyncio.run(all_rows(target)), asyncio.run(all_rows(f"sqlite:///{source}"))
    assert there.keys() == here.keys()
    for table, found in there.items():
        assert same(found, here[table]), table
    execute(services.postgres_url, f'DROP DATABASE "{target.rpartition("/")[2]}"')


async def test_numbers_are_copied_exactly(source: Path, target: str) -> None:
    numbers = (0.1 + 0.2, 1e300, -1.7976931348623157e308, 5e-324, 2 / 3)
    tasks = [row_of("background_tasks", progress=number, result=number) for number in numbers]
    await insert(f"sqlite:///{source}", [("background_tasks", task) for task in tasks])
    done = copy(source, target)
    assert done.returncode == 0, done.stdout
    found = execute(target, "SELECT progress, result::text FROM background_tasks ORDER BY id")
    assert [(progress, float(result)) for progress, result in found] == [(number, number) for number in numbers]


async def test_indexes_keys_and_triggers_stand_again_and_the_source_is_not_written(
    source: Path, target: str, services: Services
) -> None:
    await insert(f"sqlite:///{source}", [("users", row_of("users")) for _ in range(3)])
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = hashlib.sha256(source.read_bytes()).hexdigest()
    fresh = empty_database(services, f"fresh-{secrets.token_hex(4)}")
    migrate.upgrade(fresh)
    done = copy(source, target)
    assert done.returncode == 0, done.stdout + done.stderr
    assert hashlib.sha256(source.read_bytes()).hexdigest() == before
    assert await look(target, shape) == await look(fresh, shape)
    assert execute(target, TRIGGERS) == execute(fresh, TRIGGERS) != []
    migrate.check(target)


async def test_the_report_counts_and_says_that_all_is_equal(source: Path, target: str, tmp_path: Path) -> None:
    await insert(f"sqlite:///{source}", [("users", row_of("users")) for _ in range(3)])
    report = tmp_path / "report.json"
    done = copy(source, target, "--report", str(report))
    said = json.loads(report.read_text())
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "committed: every row is there"
    tables = {one["table"]: one for one in said["tables"]}
    assert tables.keys() == SQLModel.metadata.tables.keys()
    assert (tables["users"]["rows"], tables["installation"]["rows"]) == (3, 1)
    assert all(one["source"] == one["target"] for one in tables.values())
    assert "@" not in said["target"]


async def test_who_was_signed_in_goes_on_and_signs_in_again(
    server: Callable[..., Any], source: Path, target: str, new_client: NewClient
) -> None:
    before = await server(DATABASE_URL=f"sqlite:///{source}")
    account = Account(new_client(before.url))
    assert (await account.register()).status_code == 201
    assert (await account.login()).status_code == 200
    done = copy(source, target)  # while the service runs
    assert done.returncode == 0, done.stdout + done.stderr
    after = await server(DATABASE_URL=target)
    moved = Account(new_client(after.url), account.email, account.password, account.pair)
    assert (await moved.me()).json()["email"] == account.email
    refreshed = await moved.refresh()
    assert refreshed.status_code == 200, refreshed.text
    assert (await moved.login()).status_code == 200
    assert (await Account(new_client(after.url)).register()).status_code == 201


# --- what is not ----------------------------------------------------------------------------------------------------

UNFIT = {
    "email: another row has it in another case": "UPDATE users SET email = 'Ada@example.com' WHERE rowid = 2",
    "email: not in its one form": "UPDATE users SET email = 'GRACE@example.com' WHERE rowid = 2",
    "id: no UUID": "UPDATE users SET id = '019ab7e4-0000-7000-8000-000000000001' WHERE rowid = 2",
    "created_at: no time": "UPDATE users SET created_at = '2026-02-30 00:00:00.000000' WHERE rowid = 2",
    "updated_at: no time": "UPDATE users SET updated_at = '0000-01-01 00:00:00.000000' WHERE rowid = 2",
    "full_name: has a NUL character": "UPDATE users SET full_name = 'a' || char(0) || 'b' WHERE rowid = 2",
    "full_name: no UTF-8": "UPDATE users SET full_name = CAST(x'61ff62' AS TEXT) WHERE rowid = 2",
    "full_name: longer than 200": "UPDATE users SET full_name = printf('%0201d', 1) WHERE rowid = 2",
    "is_active: neither 0 nor 1": "UPDATE users SET is_active = 2 WHERE rowid = 2",
    "roles: no JSON that": 'UPDATE users SET roles = \'{"a":1,"a":2}\' WHERE rowid = 2',
    "email: not in its one": "UPDATE users SET email = 'É@example.com' WHERE rowid = 2",
    "roles: no JSON": "UPDATE users SET roles = '[\"a\\u0000\"]' WHERE rowid = 2",
    "generation: out of range": "UPDATE user_sessions SET generation = 2147483648 WHERE rowid = 1",
    "generation: no whole number": "UPDATE user_sessions SET generation = 1.5 WHERE rowid = 1",
    "salt: no bytes": "UPDATE user_sessions SET salt = 'text' WHERE rowid = 1",
    "names a row of users that is not there": "DELETE FROM users WHERE rowid = 2",
}


async def with_two_users(source: Path, statement: str = "") -> None:
    """Two accounts, the second with a session, and one statement that no service would make."""
    first, second = row_of("users", email="ada@example.com"), row_of("users", email="grace@example.com")
    session = row_of("user_sessions", user_id=second["id"])
    await insert(f"sqlite:///{source}", [("users", first), ("users", second), ("user_sessions", session)])
    with closing(sqlite3.connect(source)) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("reason", UNFIT)
async def test_what_does_not_fit_is_told_and_stops_the_copy(source: Path, target: str, reason: str) -> None:
    await with_two_users(source, UNFIT[reason])
    dry = copy(source, target, "--dry-run")
    assert dry.returncode == 1
    table = "user_sessions" if "user_sessions" in UNFIT[reason] or reason.startswith("names") else "users"
    assert any(line.startswith(f"{table} ") and reason in line for line in dry.stdout.splitlines()), dry.stdout
    refused = copy(source, target)
    assert refused.returncode == 1
    assert "--quarantine" in refused.stderr
    assert execute(target, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")[0][0] == 0


@pytest.mark.parametrize("reason", UNFIT)
async def test_what_is_set_aside_is_kept_whole_and_all_else_is_copied(
    source: Path, target: str, tmp_path: Path, reason: str
) -> None:
    await with_two_users(source, UNFIT[reason])
    aside = tmp_path / "aside.jsonl"
    done = copy(source, target, "--quarantine", str(aside))
    assert done.returncode == 0, done.stdout + done.stderr
    left = [json.loads(line) for line in aside.read_text().splitlines()]
    with closing(sqlite3.connect(source)) as connection:
        there = {
            name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for name in ("users", "user_sessions")
        }
    for name, number in there.items():
        copied = execute(target, f"SELECT count(*) FROM {name}")[0][0]
        assert copied + sum(one["table"] == name for one in left) == number
    assert any(reason in one["reason"] for one in left)
    assert all(one["row"].keys() == SQLModel.metadata.tables[one["table"]].columns.keys() or one["row"] for one in left)
    if len(left) < sum(there.values()):
        again = copy(source, target, "--quarantine", str(tmp_path / "again.jsonl"))
        assert (again.returncode, "not empty" in again.stderr) == (1, True)


async def test_a_target_that_changes_what_it_is_given_is_left_empty(source: Path, target: str) -> None:
    await with_two_users(source, "UPDATE users SET full_name = 'Ada'")
    migrate.upgrade(target)
    await run(target, "ALTER TABLE users ALTER full_name TYPE char(200)")  # it fills up with blanks
    done = copy(source, target)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "undone: the target is empty"
    assert [line.split()[0] for line in done.stdout.splitlines() if "DIFFERS" in line] == ["users"]
    assert execute(target, "SELECT count(*) FROM users")[0][0] == 0


async def test_what_is_not_as_it_has_to_be_is_refused(source: Path, target: str, tmp_path: Path) -> None:
    for file, said in (
        (tmp_path / "none.db", "there is no SQLite database"),
        (Path(__file__), "cannot be read as a SQLite database"),
    ):
        refused = copy(file, target)
        assert (refused.returncode, said in refused.stderr) == (1, True), refused.stderr
    migrate.downgrade(f"sqlite:///{source}")
    assert "upgrade it first" in copy(source, target).stderr
    migrate.upgrade(f"sqlite:///{source}")
    await run(target, "CREATE TABLE somebody_elses (id int)")
    assert "the target is not empty" in copy(source, target).stderr
    assert copy(source, f"sqlite:///{source}").returncode == 2
    aside = tmp_path / "aside.jsonl"
    aside.write_text("of another copy\n")
    assert "is there already" in copy(source, target, "--quarantine", str(aside)).stderr
    assert aside.read_text() == "of another copy\n"


@pytest.mark.timeout(900)
async def test_a_copy_that_is_killed_has_left_nothing_and_can_be_made_again(source: Path, target: str) -> None:
    many_users(source, 20_000)
    migrate.upgrade(target)
    chance = random.Random(7)
    for _ in range(rounds(50, 5)):
        running = subprocess.Popen(
            command(source, target), cwd=BACKEND, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with suppress(subprocess.TimeoutExpired):  # at some moment between its start and its end
            running.wait(timedelta(seconds=chance.uniform(0.3, 2.0)).total_seconds())
        running.send_signal(signal.SIGKILL)
        ended = running.wait()
        assert ended in (0, -signal.SIGKILL)
        left = execute(target, "SELECT count(*) FROM users")[0][0]
        assert left in (0, 20_000)
        if left:  # it was quicker than the signal
            execute(target, "TRUNCATE users CASCADE")
    done = copy(source, target)
    assert done.returncode == 0, done.stdout + done.stderr
    assert execute(target, "SELECT count(*) FROM users")[0][0] == 20_000
