"""What happens to the parts of `make dev` between their start and their end."""

import asyncio
import fcntl
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.dev.child import Child
from app.dev.state import State
from tests.dev import Dev
from tests.processes import launch
from tests.terminals import read_to_end
from tests.waiting import eventually

pytestmark = [pytest.mark.timeout(240), pytest.mark.any_database, pytest.mark.any_server]
WAITS = "import os, signal; open(f'{os.getpid()}.pid', 'w'); signal.pause()"


class Kept:
    """A child that is kept running, which notes its pid in `folder`."""

    def __init__(self, folder: Path, code: str = WAITS) -> None:
        self.folder = folder
        command = [sys.executable, "-c", code]
        self.child = Child("worker", command, state=State(folder / "state"), env=dict(os.environ), cwd=folder)
        self.keeping = asyncio.create_task(self.child.keep())

    def pids(self) -> set[int]:
        return {int(file.stem) for file in self.folder.glob("*.pid")}


@asynccontextmanager
async def kept(folder: Path, code: str = WAITS) -> AsyncIterator[Kept]:
    one = Kept(folder, code)
    try:
        yield one
    finally:
        await one.child.stop(5)
        await one.keeping


async def test_a_part_whose_code_changed_starts_anew_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with kept(tmp_path) as part:
        before = await eventually(part.pids)
        await part.child.renew(5)
        await eventually(lambda: len(part.pids()) == 2)
        assert part.pids() > before
    assert "starts again in" not in capsys.readouterr().out


async def test_a_part_that_waits_to_start_again_does_so_when_its_code_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The figure alone: only a pause that nobody would wait out shows that the change of code ended it.
    monkeypatch.setattr("app.dev.child.FIRST_PAUSE", 600.0)
    async with kept(tmp_path, "import os; open(f'{os.getpid()}.pid', 'w')") as part:
        await eventually(lambda: "starts again in 600 s" in capsys.readouterr().out)
        await part.child.renew(5)
        await eventually(lambda: len(part.pids()) == 2)


async def test_a_part_that_is_stopped_while_it_starts_does_not_live_on(tmp_path: Path) -> None:
    async with kept(tmp_path) as part:
        await asyncio.sleep(0)  # a turn of the loop, in which the start begins
    assert part.keeping.done()
    assert not list((tmp_path / "state" / "run").iterdir())


async def test_a_whole_last_line_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as screen:
        monkeypatch.setattr(sys, "stdout", screen)
        command = [sys.executable, "-c", "print('one')"]
        child = Child("api", command, state=State(tmp_path), env=dict(os.environ), cwd=tmp_path)
        assert await child.run() == 0
    lines = read_to_end(ours).splitlines()
    assert [line.partition("│ ")[2] for line in lines] == ["one"]


class Under(Dev):
    """Started by a program of ours, which is given the command."""

    MAKE = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"

    def __init__(self, program: str, folder: Path, **env: str) -> None:
        self._program = program
        super().__init__(folder, **env)

    def start(self) -> None:
        command = [sys.executable, "-c", self._program, sys.executable, "-m", "app.cli", "dev"]
        self.process = launch(command, self.log, env=self.env, cwd=self._backend)
        self._starts += 1


@asynccontextmanager
async def running(dev: Dev) -> AsyncIterator[Dev]:
    """It has ended with the block, and left nothing behind."""
    try:
        yield dev
    finally:
        await dev.close()
        await dev.all_gone()


async def test_a_database_that_comes_late_is_migrated_and_joined(tmp_path: Path) -> None:
    """A file that is no database yet stands for one that is away."""
    file = tmp_path / "late.db"
    file.write_text("not a database yet, though it will be one before long")
    async with running(Dev(tmp_path, DATABASE_URL=f"sqlite:///{file}")) as dev:
        await eventually(lambda: dev.child("api"))  # it starts without, after a first try
        file.unlink()
        await dev.ready()
        answer = await dev.client.get("/api/v1/health/ready")
        assert answer.json()["checks"]["migrations"]["status"] == "healthy"


async def test_on_a_terminal_ctrl_c_twice_does_not_wait_for_what_hangs(tmp_path: Path) -> None:
    async with running(Under(Under.TERMINAL, tmp_path, SHUTDOWN_TIMEOUT="60")) as dev:
        await dev.ready()
        assert "\x1b[33mworker" in dev.output()  # in its colour, before its lines
        os.kill(dev.child("worker"), signal.SIGSTOP)  # it hears nothing now
        supervisor = dev.stack()["pid"]
        os.kill(supervisor, signal.SIGINT)
        await eventually(lambda: not dev.child("api"))
        os.kill(supervisor, signal.SIGINT)
        assert await asyncio.to_thread(dev.process.wait, 20) == 0


async def test_a_start_that_fails_halfway_ends_what_it_began_and_says_why(tmp_path: Path) -> None:
    valkey = tmp_path / "data with a space" / "valkey"
    valkey.mkdir(parents=True)
    with (valkey / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as a Valkey of an earlier start would
        async with running(Dev(tmp_path)) as dev:
            assert await asyncio.to_thread(dev.process.wait, 60) == 1
            assert dev.output().startswith("neoforge: a Valkey of an earlier start still runs on ")
            assert dev.output().count("\n") == 1


async def test_it_ends_when_the_make_that_started_it_is_killed(tmp_path: Path) -> None:
    async with running(Under(Under.MAKE, tmp_path, MAKELEVEL="1")) as dev:
        await dev.ready()
        assert len(dev.left()) >= 6
        dev.kill()
        await dev.all_gone()
        assert not (dev.data / "stack.json").exists(), "it was not asked to end, but killed"
