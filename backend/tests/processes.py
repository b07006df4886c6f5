"""Child processes of a test run: they log to a file, and end when the run does, however it ends."""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

NOBODY = 65534  # PostgreSQL refuses to run as root; this user needs no entry in /etc/passwd
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def launch(
    command: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | Path = "/",
    stdin: str | None = None,
    nobody: bool = False,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start `command` with both outputs appended to `log`. `nobody` gives up root for it."""
    user: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if nobody else {}
    with log.open("ab") as output:
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=env,
            cwd=cwd,
            preexec_fn=_die_with_us(death_signal),  # runs after the change of user, which would undo it
            **user,
        )
    if stdin is not None:
        assert process.stdin is not None
        process.stdin.write(stdin.encode())
        process.stdin.close()
    return process


def _die_with_us(signum: signal.Signals) -> Callable[[], None]:
    def prepare() -> None:
        if sys.platform == "linux":  # elsewhere the janitor ends what is left
            _libc.prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)

    return prepare


def end(process: subprocess.Popen[bytes], signum: signal.Signals = signal.SIGTERM, within: float = 30) -> int:
    """Ask `process` to end, and kill it when it does not. Returns its exit code."""
    if process.poll() is None:
        process.send_signal(signum)
    return outlive(process, within)


def outlive(process: subprocess.Popen[bytes], within: float = 30) -> int:
    """Wait until `process` has ended, and kill it when it does not. Returns its exit code."""
    try:
        return process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def free_port() -> int:
    """A port that nothing listens on, from below the range that outgoing connections are given."""
    for _ in range(200):
        port = random.randint(15_000, 31_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port between 15000 and 31000 on 127.0.0.1")


def tail(log: Path, lines: int = 60) -> str:
    """The last lines of a log, for the message of a failure."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
