"""Runs tests in copies of the backend, each in a fork of this process, which has imported the libraries already."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.libraries import import_libraries

BACKEND = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(".*_cache", ".hypothesis", "htmlcov", ".coverage*", ".venv", "*.egg-info")
COPIED = ("alembic", "app", "tests")  # what a lie may alter, and what finds its neighbours by where it lies itself
LIMIT = 600.0  # seconds that one run may take
PLUGINS = ("--disable-plugin-autoload", "-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider")


@dataclass(frozen=True)
class Run:
    """Tests on a stack, with a lie applied (a patch) or without."""

    stack: str
    tests: tuple[str, ...]
    patch: Path | None = None


@dataclass(frozen=True)
class Outcome:
    run: Run
    code: int
    """pytest's; negative when a signal ended it."""
    output: str


def run_all(runs: Iterable[Run], at_once: int) -> Iterator[Outcome]:
    """Run them, so many at once; the outcomes come in the order in which the runs end."""
    import_libraries()  # the half of a short run, and a lie alters none of it
    waiting, running = deque(runs), set[_Copy]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.add(_Copy(waiting.popleft()))
            for one in [one for one in running if one.ended()]:
                running.remove(one)
                yield one.outcome()
            time.sleep(0.05)  # children outside: each ends when it ends
    finally:
        for one in running:
            one.kill()


class _Copy:
    """A run that was started."""

    def __init__(self, run: Run) -> None:
        self._run, self._code, self._deadline = run, 0, time.monotonic() + LIMIT
        self._folder = tempfile.TemporaryDirectory(prefix="neoforge-mutant-")
        root = Path(self._folder.name)
        backend, self._output = root / "backend", root / "output"
        backend.mkdir()
        for source in BACKEND.iterdir():
            if source.name in COPIED:
                shutil.copytree(source, backend / source.name, ignore=LEFT_OUT)  # bytecode too: it has the same times
            else:
                (backend / source.name).symlink_to(source)
        for name in ("docs", ".env.example"):
            (root / name).symlink_to(BACKEND.parent / name)
        if run.patch:
            subprocess.run(["git", "apply", "--unidiff-zero", str(run.patch)], cwd=backend, check=True)
        self._pid = os.fork()
        if self._pid == 0:
            _become(backend, run, self._output)

    def ended(self) -> bool:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid == 0 and time.monotonic() > self._deadline:
            self.kill()
            return True
        self._code = os.waitstatus_to_exitcode(status)
        return pid != 0

    def outcome(self) -> Outcome:
        with self._folder:
            return Outcome(self._run, self._code, self._output.read_text(errors="replace"))

    def kill(self) -> None:
        """What it started ends with it."""
        os.kill(self._pid, signal.SIGKILL)
        self._code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def _become(backend: Path, run: Run, output: Path) -> None:
    """In the fork: run the tests of the copy. Does not return."""
    code = -1
    try:
        written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(written, 1)
        os.dup2(written, 2)
        os.chdir(backend)
        for name in [name for name in sys.modules if name.partition(".")[0] in ("app", "tests")]:
            del sys.modules[name]
        sys.path[:] = [str(backend), *(path for path in sys.path if path not in ("", str(BACKEND)))]
        os.environ.update(NEOFORGE_TEST_STACK=run.stack, FAULTS="short", PYTHONPATH=str(backend))
        code = pytest.main(["-q", "-x", *PLUGINS, *run.tests])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
