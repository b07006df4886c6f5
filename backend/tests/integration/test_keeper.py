"""A worker is kept: started again when it ends unasked, told what its keeper is told, gone when its keeper is."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from tests.operating import Operator, operator, own
from tests.processes import end, launch, outlive
from tests.services import BACKEND
from tests.waiting import eventually

__all__ = ["operator", "own"]
pytestmark = [pytest.mark.any_database, pytest.mark.any_server]
KEEPER = """
import os, signal, sys, time
from app.cli.keeper import keep
from app.core.process import say_ready

def work():
    with open("starts", "a") as starts:
        print(os.getpid(), file=starts)
    {work}

keep(work)
"""
WAITS = "say_ready(); print('ready', flush=True); time.sleep(600)"


class Kept:
    """A keeper of a few lines of work."""

    def __init__(self, folder: Path, work: str) -> None:
        self.folder, self.log = folder, folder / "log"
        env = {**os.environ, "PYTHONPATH": str(BACKEND)}
        self.process = launch([sys.executable, "-c", KEEPER.format(work=work)], self.log, env=env, cwd=folder)

    def starts(self) -> list[int]:
        file = self.folder / "starts"
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    async def ready(self, times: int = 1) -> int:
        """Wait until it has been ready so often; the process that is."""
        await eventually(lambda: self.log.read_text().count("ready\n") >= times or self.process.poll() is not None)
        assert self.process.poll() is None
        return self.starts()[-1]


@pytest.fixture
async def keepers(tmp_path: Path) -> AsyncIterator[list[Kept]]:
    made: list[Kept] = []
    yield made
    for one in made:
        end(one.process, signal.SIGKILL)


async def test_what_ends_unasked_starts_again_whatever_its_exit_code(keepers: list[Kept], tmp_path: Path) -> None:
    keepers.append(kept := Kept(tmp_path, "say_ready(); sys.exit(len(open('starts').readlines()) % 2)"))
    await eventually(lambda: len(kept.starts()) >= 4)
    said = [line for line in kept.log.read_text().splitlines() if "worker_ended_unasked" in line]
    assert len(said) >= 3
    assert end(kept.process) in (0, 128 + signal.SIGTERM), "between two starts, or at the beginning of one"


async def test_what_is_killed_starts_again(keepers: list[Kept], tmp_path: Path) -> None:
    keepers.append(kept := Kept(tmp_path, WAITS))
    os.kill(await kept.ready(), signal.SIGKILL)
    await kept.ready(times=2)


async def test_what_never_was_ready_ends_with_its_exit_code(keepers: list[Kept], tmp_path: Path) -> None:
    keepers.append(kept := Kept(tmp_path, "sys.exit(3)"))
    assert outlive(kept.process) == 3
    assert len(kept.starts()) == 1


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
async def test_a_signal_is_handed_on_and_the_exit_code_back(
    keepers: list[Kept], tmp_path: Path, signum: signal.Signals
) -> None:
    keepers.append(kept := Kept(tmp_path, f"signal.signal({signum:d}, lambda *_: sys.exit(7)); {WAITS}"))
    await kept.ready()
    assert end(kept.process, signum) == 7
    assert len(kept.starts()) == 1


async def test_a_closed_terminal_asks_it_to_end(keepers: list[Kept], tmp_path: Path) -> None:
    keepers.append(kept := Kept(tmp_path, f"signal.signal(15, lambda *_: sys.exit(7)); {WAITS}"))
    await kept.ready()
    assert end(kept.process, signal.SIGHUP) == 7


async def test_a_keeper_that_is_killed_leaves_nothing_behind(keepers: list[Kept], tmp_path: Path) -> None:
    keepers.append(kept := Kept(tmp_path, WAITS))
    child = psutil.Process(await kept.ready())
    kept.process.kill()
    await eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


async def test_a_terminal_tells_it_once(keepers: list[Kept], tmp_path: Path) -> None:
    """Ctrl-C goes to every process of a terminal's foreground group; a second one would end Celery at once."""
    keepers.append(kept := Kept(tmp_path, WAITS))
    assert os.getpgid(await kept.ready()) != os.getpgid(kept.process.pid)


async def test_a_worker_whose_celery_is_killed_goes_on(operator: Operator) -> None:
    await operator.start("scheduler")
    worker = await operator.start("worker")
    (celery,) = psutil.Process(worker.pid).children()
    celery.kill()
    await eventually(lambda: "worker_ended_unasked" in worker.output())
    task_id = await operator.promise()
    assert (await operator.until(task_id, "succeeded")).attempts == 1


def test_a_worker_that_cannot_run_says_why_and_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "worker", "--queues", "nowhere"],
        cwd=BACKEND, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "there is no queue 'nowhere'" in done.stderr
