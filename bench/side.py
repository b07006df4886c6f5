"""One side of the task benchmark: its processes, to start, fill, kill and count."""

import os
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import psutil
from tests.processes import end, launch, tail

from bench import ROOT
from bench.marks import read
from bench.servers import Servers, spent

WARM_UP = 500  # tasks, so that no import and no first connection is measured
PATIENCE = 300.0  # seconds without progress before a run is given up


class Side(ABC):
    """One of the two, on servers of the run."""

    name: str
    programs: Mapping[str, Sequence[str]]
    """Arguments of python for each process, by name; `worker` is one of them."""

    def __init__(self, servers: Servers, env: Mapping[str, str]) -> None:
        self.servers, self.running = servers, dict[str, subprocess.Popen[bytes]]()
        self.marks = servers.folder / f"marks-{type(self).__name__}"
        self.marks.mkdir(exist_ok=True)
        path = os.pathsep.join([str(ROOT / "backend"), str(ROOT)])
        own = {"PYTHONPATH": path, "BENCH_MARKS": str(self.marks), "BENCH_EFFECTS": servers.effects}
        self.env = {**os.environ, **own, **env}

    def start(self) -> None:
        """All processes, warm: they have done some tasks."""
        self.start_cold()
        self.run_through(WARM_UP)

    def start_cold(self) -> None:
        for name in self.programs:
            self._launch(name)

    def _launch(self, name: str) -> None:
        log = self.servers.services.log(f"{type(self).__name__}-{name}")
        self.running[name] = launch([sys.executable, *self.programs[name]], log, env=self.env, cwd=ROOT)

    def stop(self) -> None:
        for process in self.running.values():
            end(process)
        self.running.clear()
        shutil.rmtree(self.marks)
        self.marks.mkdir()

    def kill_worker(self) -> None:
        """`kill -9` of the parent and every child, and a new one at once."""
        parent = psutil.Process(self.running["worker"].pid)
        whole = [parent, *parent.children(recursive=True)]
        for process in whole:
            process.kill()
        self.running["worker"].wait()
        psutil.wait_procs(whole[1:], timeout=10)
        self._launch("worker")

    @property
    def begun(self) -> int:
        """Bodies begun since the start."""
        return read(self.marks)[0]

    def has_begun(self, count: float) -> bool:
        return self.begun > count

    def run_through(self, count: int) -> tuple[float, dict[str, float]]:
        """Release so many tasks at once that do nothing: seconds to the end of the last, CPU µs a task by process."""
        self.prepare("noop", count)
        already, used = self.begun, self.cpu()
        since = self.release()
        self.until(lambda: self.begun - already >= count)
        until = self.finished()
        spent = {name: (seconds - used[name]) / count * 1e6 for name, seconds in self.cpu().items()}
        return (until - since) / 1e9, spent

    def until(self, true: Callable[[], bool]) -> None:
        """Wait for it.

        Raises:
            SystemExit: a process has ended, or no body has begun for too long.
        """
        seen, deadline = -1, 0.0
        while not true():
            if self.begun != seen:
                seen, deadline = self.begun, time.monotonic() + PATIENCE
            if time.monotonic() > deadline or any(one.poll() is not None for one in self.running.values()):
                raise SystemExit(f"{self.name} goes no further:\n{self.logged()}")
            time.sleep(0.01)

    def cpu(self) -> dict[str, float]:
        """CPU seconds used so far: of each process of ours, of the worker's children, and of the servers."""
        found = {name: spent(process.pid) for name, process in self.running.items()}
        children = psutil.Process(self.running["worker"].pid).children(recursive=True)
        found["worker's children"] = sum(spent(child.pid) for child in children)
        return found | self.servers.cpu()

    def logged(self) -> str:
        return "\n".join(tail(self.servers.services.log(f"{type(self).__name__}-{name}"), 20) for name in self.programs)

    def call(self, *words: str) -> str:
        """What a helper program of this side prints."""
        command = [sys.executable, *words]
        return subprocess.run(command, env=self.env, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    @abstractmethod
    def prepare(self, kind: str, count: int) -> None:
        """Make so many tasks of the kind, which no process sees yet."""

    @abstractmethod
    def release(self) -> int:
        """Show all of them at once; the ns of the moment."""

    @abstractmethod
    def finished(self) -> int:
        """Wait until nothing is left; the ns when the last one was done."""

    @abstractmethod
    def left(self) -> int:
        """Tasks that are not at their end."""

    @abstractmethod
    def latencies(self, count: int) -> list[float]:
        """Milliseconds from the promise of one task to the start of its body, each on an idle system."""
