"""Lines with the part's name before them on a terminal, and processes that end with the one that started them."""

import asyncio
import os
import pty
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from app.dev.child import Child
from app.dev.state import State
from tests.stack import Server
from tests.terminals import read_to_end
from tests.waiting import eventually

pytestmark = [pytest.mark.any_database, pytest.mark.any_server]


async def test_on_a_terminal_each_line_says_whose_it_is(tmp_path: Path, monkeypatch) -> None:
    ours, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as screen:
        monkeypatch.setattr(sys, "stdout", screen)
        command = [sys.executable, "-c", "print('one'); print('two', end='')"]
        child = Child("api", command, state=State(tmp_path), env=dict(os.environ), cwd=tmp_path)
        assert await child.run() == 0
    lines = read_to_end(ours).splitlines()
    assert [line.partition("│ ")[2] for line in lines] == ["one", "two"]
    assert all("api" in line.partition("│ ")[0] for line in lines)


async def test_a_part_that_does_not_end_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    """It ignores SIGTERM, and so does the process that it started."""
    deaf = "import os, signal; signal.signal(15, signal.SIG_IGN); os.fork()"
    code = f"{deaf}; open(str(os.getpid()), 'w'); signal.pause()"
    child = Child(
        "api", [sys.executable, "-c", code], state=State(tmp_path / "state"), env=dict(os.environ), cwd=tmp_path
    )
    keeping = asyncio.create_task(child.keep())
    pids = await eventually(
        lambda: (found := [int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()])[1:] and found
    )
    await child.stop(0.1)
    await keeping
    await eventually(lambda: not any(_runs(pid) for pid in pids))


async def test_the_processes_of_serve_are_replaced_and_end_with_it(
    server: Callable[..., Awaitable[Server]],
) -> None:
    running = await server("--workers", "2")

    def answering() -> set[int]:
        return {child.pid for child in psutil.Process(running.pid).children() if "spawn_main" in _command(child)}

    before = await eventually(lambda: len(found := answering()) == 2 and found)
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    after = await eventually(lambda: len(found := answering() - {killed}) == 2 and found)
    await running.ready()
    running.kill()
    await eventually(lambda: not any(_runs(pid) for pid in after))


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # ended meanwhile
        return ""


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
