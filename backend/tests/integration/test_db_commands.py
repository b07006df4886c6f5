"""`neoforge db reset` and `db shell`, on the database that is configured."""

import fcntl
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from app.tools import migrate
from tests.commands import neoforge
from tests.databases import own_database
from tests.schema import look, run
from tests.services import BACKEND, Services
from tests.terminals import read_to_end
from tests.unit.test_cli import assert_one_line

MARK = "INSERT INTO paused_queues (name, paused_at) VALUES ('mark', '2026-11-28 12:00:00.000000')"
PRODUCTION = {
    "ENVIRONMENT": "production",
    "ALLOW_SQLITE_IN_PRODUCTION": "true",
    "PUBLIC_URL": "https://api.example.com",
    "SMTP_URL": "smtp://127.0.0.1:25",
    "MAIL_FROM": "hello@example.com",
}


@pytest.fixture
async def marked(services: Services) -> str:
    """A migrated database with a row that is no other's, and a table that is none of the models'."""
    url = own_database(services, "emptied")
    await run(url, MARK, "CREATE TABLE own (id INTEGER PRIMARY KEY)")
    return url


def queues(url: str) -> str:
    shown = neoforge("db", "shell", stdin="SELECT name FROM paused_queues;\n", DATABASE_URL=url)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


async def test_it_is_emptied_and_migrated_again(marked: str, tmp_path: Path) -> None:
    assert "mark" in queues(marked)
    development = {"ENVIRONMENT": "development", "DATABASE_URL": marked, "DATA_DIR": str(tmp_path)}
    done = neoforge("db", "reset", "--yes", **development)
    assert done.returncode == 0, done.stderr
    assert f"empty, at revision {migrate.head()}" in done.stdout
    assert "mark" not in queues(marked)
    assert "own" not in await look(marked, lambda inspector: inspector.get_table_names())
    migrate.check(marked)


@pytest.mark.stack(name="server")
async def test_a_sequence_of_a_column_goes_with_its_table(marked: str, tmp_path: Path) -> None:
    await run(marked, "CREATE TABLE gen (a serial, c int GENERATED ALWAYS AS IDENTITY)")
    done = neoforge("db", "reset", "--yes", ENVIRONMENT="development", DATABASE_URL=marked, DATA_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "gen" not in await look(marked, lambda inspector: inspector.get_table_names())


@pytest.mark.parametrize("environment", [{"ENVIRONMENT": "test"}, PRODUCTION], ids=["test", "production"])
async def test_it_is_emptied_in_development_alone(marked: str, environment: dict[str, str]) -> None:
    refused = neoforge("db", "reset", "--yes", DATABASE_URL=marked, **environment)
    assert_one_line(refused, 1, "ENVIRONMENT", environment["ENVIRONMENT"])
    assert "mark" in queues(marked)


async def test_nothing_is_emptied_when_nobody_can_be_asked(marked: str) -> None:
    refused = neoforge("db", "reset", ENVIRONMENT="development", DATABASE_URL=marked)
    assert_one_line(refused, 2, "--yes")
    assert "mark" in queues(marked)


@pytest.mark.parametrize("answer", ["n", "y"])
async def test_who_sits_there_is_asked(marked: str, answer: str) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "ENVIRONMENT": "development", "DATABASE_URL": marked}
    command = [sys.executable, "-m", "app.cli", "db", "reset"]
    with subprocess.Popen(command, cwd=BACKEND, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as asked:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        shown = read_to_end(ours)
    assert str(make_url(marked).database) in shown
    assert (asked.returncode == 0) == (answer == "y"), shown
    assert ("mark" in queues(marked)) == (answer == "n")


@pytest.mark.any_database
def test_a_database_elsewhere_has_to_be_named() -> None:
    url = "postgresql://u:hunter22@db.example.invalid/d"
    refused = neoforge("db", "reset", "--yes", ENVIRONMENT="development", DATABASE_URL=url)
    assert_one_line(refused, 1, "--host db.example.invalid")
    assert "hunter22" not in refused.stderr


@pytest.mark.stack(name="embedded")
def test_the_embedded_database_is_not_emptied_under_a_running_stack(tmp_path: Path) -> None:
    development = {"ENVIRONMENT": "development", "DATABASE_URL": "", "DATA_DIR": str(tmp_path / "data")}
    assert neoforge("db", "upgrade", **development).returncode == 0
    with (tmp_path / "data" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_one_line(neoforge("db", "reset", "--yes", **development), 1, "DATA_DIR")
    assert neoforge("db", "reset", "--yes", **development).returncode == 0


@pytest.mark.stack(name="server")
def test_the_shell_has_the_password_in_its_environment(services: Services) -> None:
    url = make_url(own_database(services, "shown")).update_query_dict({"prepared_statement_cache_size": "0"})
    looking = "\\! tr '\\0' ' ' < /proc/$PPID/cmdline\n\\! echo \"password $PGPASSWORD\"\n"
    shown = neoforge("db", "shell", stdin=looking, DATABASE_URL=url.render_as_string(hide_password=False))
    assert shown.returncode == 0, shown.stderr
    arguments, _, password = shown.stdout.partition("password ")
    assert f"/{url.database}" in arguments
    assert password.strip() == (url.password or "")
    assert not url.password or url.password not in arguments


@pytest.mark.parametrize("statement", ["SELECT nothing;", "SELECT 1;"])
def test_a_shell_without_a_terminal_fails_with_its_statement(services: Services, statement: str) -> None:
    done = neoforge("db", "shell", stdin=statement, DATABASE_URL=own_database(services, "shell"))
    assert (done.returncode == 0) == ("nothing" not in statement), done.stderr


def test_an_older_revision_is_no_upgrade(services: Services) -> None:
    done = neoforge("db", "upgrade", "0003", DATABASE_URL=own_database(services, "newer"))
    assert done.returncode == 0
    assert f"the database is at {migrate.head()}, newer than 0003" in done.stderr


@pytest.mark.any_database
def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    new, restored = (f"sqlite:///{tmp_path}/{name}.db" for name in ("new", "restored"))
    assert neoforge("db", "upgrade", DATABASE_URL=new).returncode == 0
    assert neoforge("db", "backup", str(tmp_path / "file"), DATABASE_URL=new).returncode == 0
    assert neoforge("db", "restore", str(tmp_path / "file"), DATABASE_URL=restored).returncode == 0
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert {"new.db", "restored.db", "file"} <= modes.keys()
    assert set(modes.values()) == {0o600}


@pytest.mark.any_database
@pytest.mark.parametrize("place", ["h:abc", "h:99999", "[::1"])
@pytest.mark.parametrize("command", ["check", "upgrade", "backup"])
def test_a_url_that_is_none_is_told(place: str, command: str, tmp_path: Path) -> None:
    url = f"postgresql://u:hunter22@{place}/d"
    more = [str(tmp_path / "file")] if command == "backup" else []
    refused = neoforge("db", command, *more, DATABASE_URL=url)
    assert_one_line(refused, 1, "DATABASE_URL is not a URL")
    assert "hunter22" not in refused.stderr
    if command == "check":
        assert_one_line(neoforge("db", "check", "--postgresql", url), 2, "--postgresql is a URL")


@pytest.mark.any_database
def test_a_shell_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/none.db"
    assert_one_line(neoforge("db", "shell", DATABASE_URL=url), 1, "none.db", "neoforge db upgrade")
    (tmp_path / "none.db").touch()
    bare = neoforge("db", "shell", stdin=".quit\n", DATABASE_URL=url, PATH="/nowhere")
    if sys.version_info >= (3, 12):
        assert bare.returncode == 0, bare.stderr
    else:
        assert_one_line(bare, 1, "sqlite3 is not installed", "3.12")
