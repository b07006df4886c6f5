"""What `make dev` keeps in DATA_DIR to find itself again: a lock, where the servers are, and what it started."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from app.core.process import CannotRun

END_WITHIN = 10.0  # seconds for a process that an earlier start left behind to end


class State:
    """DATA_DIR, held by one process at a time.

    Raises:
        CannotRun: another process holds it.
    """

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._lock)
            raise CannotRun(
                f"`neoforge dev` runs on {self.folder} already (process {holder}): "
                "stop it first, or set PORT and DATA_DIR to run another beside it"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    # --- where the embedded servers are ---

    def write_stack(self, **stack: object) -> None:
        """Tell other commands where the embedded servers are, all at once and to the owner only."""
        write_private(self.folder / "stack.json", json.dumps(stack))

    def forget_stack(self) -> None:
        (self.folder / "stack.json").unlink(missing_ok=True)

    # --- what was started ---

    def remember(self, name: str, pid: int) -> None:
        """Note a child, so that the next start can end it should it outlive this process."""
        (self.folder / "run").mkdir(mode=0o700, exist_ok=True)
        write_private(self.folder / "run" / f"{name}.json", json.dumps({"pid": pid, "born": born(pid)}))

    def forget(self, name: str) -> None:
        (self.folder / "run" / f"{name}.json").unlink(missing_ok=True)

    def sweep(self) -> None:
        """End the children of an earlier start that outlived it, where they provably are those."""
        for note in (self.folder / "run").glob("*.json"):
            try:
                known = json.loads(note.read_text())
                pid, birth = int(known["pid"]), str(known["born"])
            except (OSError, ValueError, KeyError, TypeError):  # a torn note names nothing that could be proven
                note.unlink(missing_ok=True)
                continue
            if birth == born(pid):
                _end(pid, birth)
            note.unlink(missing_ok=True)

    # --- emptying it ---

    def empty(self) -> None:
        """Remove what the embedded stack made, and nothing else."""
        self.sweep()
        for name in ("valkey", "mailbox", "run"):
            path = self.folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
        database = [f"neoforge.db{part}" for part in ("", "-wal", "-shm", "-journal", "-migrating")]
        for name in (*database, "stack.json", "secret_key"):
            (self.folder / name).unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step; only its owner may read it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    draft.replace(path)


def born(pid: int) -> str:
    """When the process began, as the system words it; with its pid this names one process. Empty when it has ended."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except (OSError, IndexError):
            return ""
        return "" if stat[0] in "ZX" else f"{boot}/{stat[19]}"
    return _born_by_ps(pid)  # pragma: no cover - where there is no /proc, as on macOS


def _born_by_ps(pid: int) -> str:
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no text of others in it
    return asked.stdout.strip()


def _end(pid: int, birth: str) -> None:
    """End the process and the group that it leads: asked first, so that Valkey can write what it holds."""
    for signum, patience in ((signal.SIGTERM, END_WITHIN), (signal.SIGKILL, END_WITHIN)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signum)
        deadline = time.monotonic() + patience
        while born(pid) == birth and time.monotonic() < deadline:
            time.sleep(0.02)
        if born(pid) != birth:
            return
