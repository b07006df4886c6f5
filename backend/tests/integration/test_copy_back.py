"""`neoforge db copy` from PostgreSQL, to a laptop's SQLite with fakes for persons, and after an interruption."""

import asyncio
import json
import random
import secrets
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as given_settings
from sqlmodel import SQLModel

from app.tools import migrate
from app.tools.copying.copy import copy as copied
from tests import rows as generated
from tests.copying import all_rows, command, copy, insert, killed, many_users, of, row_of, rows, same, url
from tests.databases import empty_database
from tests.faults.stack import rounds
from tests.fixtures import NewClient
from tests.flows import Account
from tests.schema import connected, look, run, shape
from tests.services import Services, execute

pytestmark = [pytest.mark.stack(name="server"), pytest.mark.any_server]  # what is copied from is PostgreSQL
KEY = "of-the-laptop-" + "k" * 32


def another(services: Services) -> str:
    return empty_database(services, f"copied-{secrets.token_hex(4)}")


def dumped(file: Path) -> str:
    """All that stands in a SQLite database, as SQL."""
    with closing(sqlite3.connect(file)) as connection:
        return "\n".join(connection.iterdump())


# --- there and back -------------------------------------------------------------------------------------------------


@given_settings(
    max_examples=rounds(40, 3), deadline=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(drawn=rows)
def test_what_went_there_and_back_is_what_it_was(
    migrated: Path, services: Services, tmp_path: Path, drawn: list[Any]
) -> None:
    source = Path(shutil.copy(migrated, tmp_path / f"{secrets.token_hex(4)}.db"))
    asyncio.run(insert(url(source), of(drawn)))
    way = [url(source), another(services), another(services), url(tmp_path / f"{secrets.token_hex(4)}.db")]
    for one, other in pairwise(way):
        assert asyncio.run(copied(one, other, lambda *_: None)).is_proven
    first, last = asyncio.run(all_rows(way[0])), asyncio.run(all_rows(way[-1]))
    assert first.keys() == last.keys()
    for table, found in last.items():
        assert same(found, first[table]), table
    for made in way[1:3]:
        execute(services.postgres_url, f'DROP DATABASE "{made.rpartition("/")[2]}"')


async def test_every_table_and_every_null_went_there_and_back(source: Path, services: Services, tmp_path: Path) -> None:
    async with connected(url(source)) as connection:
        await connection.run_sync(
            lambda sync: generated.insert(sync, generated.make(80, given={"changes.xid": lambda _: 0}))
        )
    first = await all_rows(url(source))
    for table in SQLModel.metadata.sorted_tables:
        if len(first[table.name]) < 80:
            continue  # the one that each database has a row of
        for at, column in enumerate(table.columns):
            known = {row[at] is None for row in first[table.name]}
            assert known == ({True, False} if column.nullable else {False}), column
    way = [url(source), another(services), url(tmp_path / "back.db")]
    for one, other in pairwise(way):
        done = await copied(one, other, lambda *_: None)
        assert done.is_proven
    last = await all_rows(way[-1])
    assert [table for table, found in last.items() if not same(found, first[table])] == []


async def test_a_file_is_made_for_its_owner_alone_and_is_as_a_migrated_one(target: str, tmp_path: Path) -> None:
    migrate.upgrade(target)
    here, fresh = tmp_path / "here.db", tmp_path / "fresh.db"
    migrate.upgrade(url(fresh))
    done = copy(target, here)
    assert done.returncode == 0, done.stdout + done.stderr
    assert stat.S_IMODE(here.stat().st_mode) == 0o600
    assert await look(url(here), shape) == await look(url(fresh), shape)
    triggers = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY 1"
    with closing(sqlite3.connect(here)) as one, closing(sqlite3.connect(fresh)) as other:
        assert one.execute(triggers).fetchall() == other.execute(triggers).fetchall() != []


async def test_a_source_is_read_by_who_may_only_read(target: str, services: Services, tmp_path: Path) -> None:
    migrate.upgrade(target)
    await insert(target, [("users", row_of("users", email="ada@example.com"))])
    role = f"reader_{secrets.token_hex(4)}"
    secret = secrets.token_hex(8)
    execute(target, f"CREATE ROLE {role} LOGIN PASSWORD '{secret}'")
    execute(target, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    try:
        done = copy(f"postgresql://{role}:{secret}@{target.partition('@')[2]}", tmp_path / "here.db")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "ada@example.com" in dumped(tmp_path / "here.db")
    finally:
        execute(target, f"DROP OWNED BY {role}")
        execute(target, f"DROP ROLE {role}")


async def test_numbers_of_transactions_say_nothing_elsewhere_and_stay_behind(
    target: str, services: Services, tmp_path: Path
) -> None:
    """The feed takes the number of a transaction that is still to come for one that is open: it would wait for it."""
    migrate.upgrade(target)
    execute(target, "INSERT INTO changes (topic, subject, xid, created_at) VALUES ('user', 'x', 99999999, now())")
    other = another(services)
    assert copy(target, other).returncode == 0
    assert execute(other, "SELECT subject, xid FROM changes") == [("x", 0)]


PLANTED = {
    "expires_at: out of range": "UPDATE user_sessions SET expires_at = 'infinity'",
    "created_at: out of range": "UPDATE users SET created_at = '0044-03-15 BC' WHERE email = 'ada@example.com'",
    "progress: no number that SQLite knows": "UPDATE background_tasks SET progress = 'NaN'",
    "email: not in its one form": "UPDATE users SET email = 'Ada@example.com' WHERE email = 'ada@example.com'",
}


@pytest.mark.parametrize("reason", PLANTED)
async def test_what_sqlite_cannot_hold_is_told_or_set_aside(target: str, tmp_path: Path, reason: str) -> None:
    migrate.upgrade(target)
    users = [row_of("users", email=f"{name}@example.com") for name in ("ada", "grace")]
    await insert(
        target,
        [
            *(("users", user) for user in users),
            ("user_sessions", row_of("user_sessions", user_id=users[0]["id"])),
            ("background_tasks", row_of("background_tasks", user_id=users[0]["id"])),
        ],
    )
    execute(target, PLANTED[reason])
    here, aside = tmp_path / "here.db", tmp_path / "aside.jsonl"
    dry = copy(target, here, "--dry-run")
    assert (dry.returncode, reason in dry.stdout) == (1, True), dry.stdout
    refused = copy(target, here)
    assert (refused.returncode, reason in refused.stderr) == (1, True), refused.stderr
    assert not here.exists()
    done = copy(target, here, "--quarantine", str(aside))
    assert done.returncode == 0, done.stdout + done.stderr
    left = [json.loads(line) for line in aside.read_text().splitlines()]
    assert any(reason in one["reason"] and one["row"]["json"] for one in left)
    found = await all_rows(url(here))
    for table, number in (("users", 2), ("user_sessions", 1), ("background_tasks", 1)):
        assert len(found[table]) + sum(one["table"] == table for one in left) == number


def test_two_names_of_one_database_and_a_folder_that_is_not_there_are_refused(
    source: Path, target: str, tmp_path: Path
) -> None:
    same_place = copy(source, source.parent / ".." / source.parent.name / source.name)
    assert (same_place.returncode, "one and the same" in same_place.stderr) == (2, True)
    lost = copy(source, tmp_path / "nowhere" / "app.db")
    assert (lost.returncode, "cannot be written" in lost.stderr) == (1, True), lost.stderr
    assert copy("mysql://root@localhost/app", target).returncode == 2


def test_nothing_that_is_there_is_written_over(source: Path, target: str, tmp_path: Path) -> None:
    before = source.read_bytes()
    for file in (source, tmp_path / "nowhere" / "report.json"):
        refused = copy(source, target, "--report", str(file))
        assert (refused.returncode, str(file) in refused.stderr) == (1, True)
    assert source.read_bytes() == before
    assert execute(target, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")[0][0] == 0


@pytest.mark.parametrize("way", ["of SQLite", "of PostgreSQL"])
async def test_what_the_models_do_not_know_is_not_left_behind_in_silence(
    source: Path, target: str, services: Services, tmp_path: Path, way: str
) -> None:
    read, written = (url(source), target) if way == "of SQLite" else (target, url(tmp_path / "here.db"))
    migrate.upgrade(target) if way == "of PostgreSQL" else None
    await run(read, "CREATE TABLE mine (x int)", "ALTER TABLE users ADD COLUMN extra int")
    dry = copy(read, written, "--dry-run")
    assert dry.returncode == 1
    refused = copy(read, written)
    assert (refused.returncode, "--leave-unknown" in refused.stderr) == (1, True)
    for told in ("mine", "no column extra"):
        assert told in dry.stdout
    assert copy(read, written, "--leave-unknown").returncode == 0


async def test_who_may_not_read_every_row_copies_none(target: str, tmp_path: Path) -> None:
    migrate.upgrade(target)
    await insert(target, [("users", row_of("users")) for _ in range(3)])
    role, secret = f"part_{secrets.token_hex(4)}", secrets.token_hex(8)
    execute(target, f"CREATE ROLE {role} LOGIN PASSWORD '{secret}'")
    execute(target, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    execute(target, "ALTER TABLE users ENABLE ROW LEVEL SECURITY")
    execute(target, f"CREATE POLICY proven ON users FOR SELECT TO {role} USING (is_verified)")
    try:
        refused = copy(f"postgresql://{role}:{secret}@{target.partition('@')[2]}", tmp_path / "here.db")
        assert (refused.returncode, "row-level security" in refused.stderr) == (1, True), refused.stderr
        assert "Traceback" not in refused.stderr
    finally:
        execute(target, f"DROP OWNED BY {role}")
        execute(target, f"DROP ROLE {role}")


async def test_numbers_that_were_given_are_not_given_again(
    source: Path, target: str, services: Services, tmp_path: Path
) -> None:
    await run(url(source), "INSERT INTO sqlite_sequence (name, seq) VALUES ('changes', 5000)")
    way = [url(source), target, another(services), url(tmp_path / "back.db")]
    for one, other in pairwise(way):
        assert copy(one, other).returncode == 0
    change = (
        "INSERT INTO changes (topic, subject, xid, created_at) VALUES ('user', 'x', 0, '2026-01-01 00:00:00.000000')"
    )
    await run(way[2], change)
    await run(way[3], change)
    with closing(sqlite3.connect(tmp_path / "back.db")) as connection:
        assert connection.execute("SELECT id FROM changes").fetchall() == [(5001,)]
    assert execute(way[2], "SELECT id FROM changes") == [(5001,)]


# --- fakes for persons ----------------------------------------------------------------------------------------------


async def test_a_masked_copy_knows_nobody_and_can_be_signed_in_to(
    server: Callable[..., Any], target: str, tmp_path: Path, new_client: NewClient
) -> None:
    migrate.upgrade(target)
    before = await server(DATABASE_URL=target)
    account = Account(new_client(before.url))
    name = f"Ada {secrets.token_hex(4)}"
    body = {"email": account.email, "password": account.password, "full_name": name}
    assert (await account.client.post("/api/v1/auth/register", json=body)).status_code == 201
    assert (await account.login()).status_code == 200
    assert (await account.client.post("/api/v1/auth/password/forgot", json={"email": account.email})).status_code == 202
    persons = execute(target, "SELECT hashed_password, email FROM users")[0]
    [(token, salt, ip)] = execute(target, "SELECT session_token, encode(salt, 'hex'), ip FROM user_sessions")
    task = row_of("background_tasks", task_data={"to": f"Mail {account.email.upper()} soon"}, message=account.email)
    await insert(target, [("background_tasks", task)])
    here, again, elsewhere = (tmp_path / f"{name}.db" for name in ("here", "again", "elsewhere"))
    done = copy(target, here, "--mask", SECRET_KEY=KEY)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, committed, said = done.stdout.splitlines()
    assert committed == "committed: every row is there"
    text = dumped(here).lower()
    for secret in (*persons, account.email.partition("@")[0], name, token, salt, ip):
        assert str(secret).lower() not in text
    found = await all_rows(url(here))
    with closing(sqlite3.connect(here)) as connection:
        [(fake,)] = connection.execute("SELECT email FROM users")
        about = "SELECT task_data, message FROM background_tasks WHERE id = ?"
        [told] = connection.execute(about, (task["id"].hex,))
    assert fake.endswith("@masked.example.com")
    assert (json.loads(told[0]), told[1]) == ({"to": f"Mail {fake} soon"}, fake)
    # The same fakes again, and others under another key.
    assert copy(target, again, "--mask", SECRET_KEY=KEY).returncode == 0
    assert await all_rows(url(again)) == found
    assert copy(target, elsewhere, "--mask", SECRET_KEY=KEY[::-1]).returncode == 0
    assert fake not in dumped(elsewhere)
    laptop = await server(DATABASE_URL=url(here), SECRET_KEY=KEY)
    signed_in = Account(new_client(laptop.url), fake, said.rpartition(" ")[2])
    assert (await signed_in.login()).status_code == 200
    assert (await signed_in.me()).json()["email"] == fake


async def test_what_is_about_persons_as_a_whole_is_left_out_of_a_masked_copy(
    source: Path, target: str, tmp_path: Path
) -> None:
    user = row_of("users")
    with closing(sqlite3.connect(source)) as connection:
        await insert(url(source), [("users", user)])
        connection.execute(
            "INSERT INTO exports (id, created_at, user_id, task_id, expires_at) VALUES"
            f" ('{user['id'].hex}', '2026-01-01 00:00:00.000000', '{user['id'].hex}', '{user['id'].hex}',"
            " '2026-01-01 00:00:00.000000')"
        )
        connection.execute(f"INSERT INTO export_chunks VALUES ('{user['id'].hex}', 1, x'6164614065786d70')")
        connection.commit()
    report = tmp_path / "report.json"
    done = copy(source, target, "--mask", "--report", str(report))
    assert done.returncode == 0, done.stdout + done.stderr
    assert execute(target, "SELECT count(*) FROM exports")[0][0] == 0
    said = json.loads(report.read_text())
    assert said["is_masked"]
    assert done.stdout.splitlines()[-1].rpartition(" ")[2] not in report.read_text()


# --- after an interruption ------------------------------------------------------------------------------------------


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", ["to PostgreSQL", "to SQLite"])
async def test_a_copy_that_is_killed_goes_on_and_ends_the_same(
    source: Path, services: Services, tmp_path: Path, way: str
) -> None:
    many_users(source, 10_000)
    users = (await all_rows(url(source)))["users"]
    await insert(url(source), [("user_sessions", row_of("user_sessions", user_id=row[0])) for row in users[:3000]])
    start: str | Path = source
    if way == "to SQLite":
        start = another(services)
        assert copy(source, start).returncode == 0
    whole, resumed = ((tmp_path / f"{n}.db") if way == "to SQLite" else another(services) for n in ("one", "other"))
    assert copy(start, whole, "--report", str(tmp_path / "whole.json")).returncode == 0
    chance = random.Random(11)
    for _ in range(rounds(50, 5)):
        killed(command(start, resumed, "--resume"), after=chance.uniform(0.5, 3.0))
    done = copy(start, resumed, "--resume", "--report", str(tmp_path / "resumed.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    one, other = (
        {table["table"]: (table["rows"], table["target"]) for table in json.loads(file.read_text())["tables"]}
        for file in (tmp_path / "whole.json", tmp_path / "resumed.json")
    )
    assert one == other
    assert (one["users"][0], one["user_sessions"][0]) == (10_000, 3000)
    assert await look(url(resumed), shape) == await look(url(whole), shape)


async def test_a_target_with_rows_of_its_own_is_not_gone_on_with(source: Path, target: str) -> None:
    await insert(url(source), [("users", row_of("users"))])
    migrate.upgrade(target)
    await insert(target, [("users", row_of("users", email="somebody@example.com"))])
    uid = execute(target, "SELECT uid FROM installation")
    refused = copy(source, target, "--resume")
    assert (refused.returncode, "users has rows that are not the source's" in refused.stderr) == (1, True)
    assert execute(target, "SELECT email FROM users") == [("somebody@example.com",)]
    assert execute(target, "SELECT uid FROM installation") == uid


@pytest.mark.parametrize("has_rows", [False, True])
async def test_a_target_that_was_migrated_in_part_is_filled_while_nobody_has_rows_in_it(
    source: Path, target: str, *, has_rows: bool
) -> None:
    """As it is left by a copy that was killed while it migrated."""
    await insert(url(source), [("users", row_of("users"))])
    migrate.upgrade(target)
    if has_rows:
        await insert(target, [("users", row_of("users"))])
    migrate.downgrade(target, "0005")
    done = copy(source, target)
    assert done.returncode == has_rows, done.stdout + done.stderr
    assert ("users has rows" in done.stderr) == has_rows
    assert execute(target, "SELECT version_num FROM alembic_version") == [("0005" if has_rows else migrate.head(),)]


async def test_tables_that_stand_already_are_compared_again(source: Path, target: str) -> None:
    await insert(url(source), [("users", row_of("users"))])
    assert copy(source, target, "--resume").returncode == 0
    assert copy(source, target, "--resume").returncode == 0
    execute(target, "UPDATE users SET created_at = created_at + interval '1 microsecond'")
    refused = copy(source, target, "--resume")
    assert (refused.returncode, "not the source's" in refused.stderr) == (1, True)
