"""A process with another secret than the installation's is told so, and in production it does not run."""

import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from httpx2 import AsyncClient

from app.tools import migrate
from tests.integration.test_edge_server import PRODUCTION
from tests.services import Services
from tests.stack import Process, Server
from tests.unit.test_cli import neoforge
from tests.waiting import eventually

OTHER = secrets.token_urlsafe(48)
ON_SQLITE = pytest.mark.stack(name="embedded")  # on either stack `fresh` is an SQLite file


@pytest.fixture
def fresh(tmp_path: Path) -> str:
    """A migrated database of an installation that has not begun."""
    url = f"sqlite:///{tmp_path}/fresh.db"
    migrate.upgrade(url)
    return url


def production(url: str, secret: str) -> dict[str, str]:
    return {**PRODUCTION, "DATABASE_URL": url, "SECRET_KEY": secret}


def digest_in(url: str) -> str | None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db:
        return db.execute("SELECT secret_check FROM installation").fetchone()[0]


@ON_SQLITE
async def test_the_first_start_keeps_a_digest_and_another_secret_is_refused(
    services: Services, fresh: str, tmp_path: Path
) -> None:
    first = await Server(services, (), production(fresh, OTHER)).ready()
    assert first.stop() == 0
    kept = digest_in(fresh)
    assert kept
    assert OTHER not in kept
    for arguments in (["serve"], ["worker"], ["scheduler"]):
        env = production(fresh, secrets.token_urlsafe(48))
        refused = neoforge(*arguments, **env, PORT="0")
        assert refused.returncode == 1, arguments
        assert refused.stderr.splitlines()[-1].startswith("neoforge: SECRET_KEY is not the one"), arguments
        assert "adopt-secret" in refused.stderr
        assert "secret_mismatch" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert env["SECRET_KEY"] not in refused.stderr
    again = await Server(services, (), production(fresh, OTHER)).ready()
    assert again.stop() == 0
    assert digest_in(fresh) == kept


@ON_SQLITE
async def test_outside_production_it_is_a_warning(services: Services, fresh: str) -> None:
    for secret in (OTHER, secrets.token_urlsafe(48)):
        running = await Server(services, (), {"DATABASE_URL": fresh, "SECRET_KEY": secret}).ready()
        assert running.stop() == 0
    assert "secret_mismatch" in running.output()


@ON_SQLITE
async def test_a_new_secret_can_be_adopted(services: Services, fresh: str) -> None:
    first = await Server(services, (), production(fresh, OTHER)).ready()
    assert first.stop() == 0
    new = production(fresh, secrets.token_urlsafe(48))
    assert_one_line_last(neoforge("keys", "list", **new))
    adopted = neoforge("keys", "adopt-secret", **new)
    assert (adopted.returncode, adopted.stdout) == (0, "SECRET_KEY is the installation's from now on\n")
    again = neoforge("keys", "adopt-secret", **new)
    assert (again.returncode, again.stdout) == (0, "SECRET_KEY is the installation's already\n")
    assert neoforge("keys", "list", **new).returncode == 0
    assert_one_line_last(neoforge("keys", "list", **production(fresh, OTHER)))
    with closing(sqlite3.connect(fresh.removeprefix("sqlite:///"))) as db:
        assert db.execute("SELECT action FROM audit_events").fetchall() == [("root_key_adopted",)]


def assert_one_line_last(failed) -> None:
    assert failed.returncode == 1
    assert "adopt-secret" in failed.stderr.splitlines()[-1]


@ON_SQLITE
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_database_that_comes_later_is_compared_then(
    services: Services, fresh: str, tmp_path: Path, workers: str
) -> None:
    assert neoforge("keys", "list", **production(fresh, OTHER)).returncode == 0
    later = tmp_path / "later"
    url = f"sqlite:///{later}/app.db"
    env = production(url, secrets.token_urlsafe(48))
    running = await Server(services, ("--workers", workers), {**env, "DATA_DIR": os.environ["DATA_DIR"]}).ready()
    staging = tmp_path / "staging"
    staging.mkdir()
    with (
        closing(sqlite3.connect(fresh.removeprefix("sqlite:///"))) as source,
        closing(sqlite3.connect(staging / "app.db")) as target,
    ):
        source.backup(target)
    staging.rename(later)  # at once, as a server that comes up is there at once
    assert await eventually(lambda: running.process.poll() is not None and running.process.returncode) == 1
    assert "neoforge: SECRET_KEY is not the one" in running.output()


@ON_SQLITE
def test_the_ring_is_turned_from_the_command_line(fresh: str) -> None:
    env = {"DATABASE_URL": fresh}
    listed = neoforge("keys", "list", **env).stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["1", "2"]
    assert listed[0].endswith("signs")
    assert listed[1].endswith("next: published, verifies")
    following = listed[1].split()[1]
    turned = neoforge("keys", "rotate", **env)
    assert (turned.returncode, turned.stdout) == (0, f"{following} signs from now on\n")
    early = neoforge("keys", "rotate", **env)
    assert early.returncode == 1
    assert "--now" in early.stderr.splitlines()[-1]
    assert neoforge("keys", "rotate", "--now", **env).returncode == 0
    states = [line.split(maxsplit=2)[2] for line in neoforge("keys", "list", **env).stdout.splitlines()]
    assert [state.split()[0] for state in states] == ["verifies", "verifies", "signs", "next:"]


async def test_a_client_of_both_processes_is_served_by_either(services: Services, client: AsyncClient) -> None:
    """The processes of one installation have one secret: what one signs, the other takes."""
    served = Process(services, ["keys", "list"], {})
    await eventually(lambda: served.process.poll() is not None)
    assert served.process.returncode == 0, served.output()
    kid = (await client.get("/.well-known/jwks.json")).json()["keys"][0]["kid"]
    assert kid in served.output()
