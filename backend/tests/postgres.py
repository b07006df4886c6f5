"""A PostgreSQL of the tests' own: its folder, and the command that runs it."""

import os
import secrets
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.binaries import NoService, postgres_binaries
from tests.processes import NOBODY, launch, tail

INITDB = "-U neoforge --no-sync --auth-host=password --auth-local=reject --encoding=UTF8 --locale=C --no-instructions"
# fsync off: only a crash of the machine could tell. synchronous_commit stays on: a killed server could.
OPTIONS = (
    "listen_addresses=127.0.0.1 unix_socket_directories= fsync=off full_page_writes=off "
    "max_connections=200 shared_buffers=64MB log_min_messages=fatal log_checkpoints=off"
)


@dataclass(frozen=True)
class Cluster:
    """A folder with databases in it. As root it belongs to nobody, since PostgreSQL refuses to run as root."""

    binaries: Path
    data: Path
    password: str
    log: Path

    @classmethod
    def make(cls, folder: Path) -> Self:
        """Make one in `folder`, which every user must be able to enter."""
        home, log, root = folder / "postgres", folder / "postgres.log", os.geteuid() == 0
        made = cls(postgres_binaries(folder), home / "data", secrets.token_urlsafe(24), log)
        home.mkdir(0o700)
        (home / "password").write_text(made.password)
        if root:
            for path in (home, home / "password"):
                os.chown(path, NOBODY, NOBODY)
        initdb = [made.binaries / "initdb", "-D", made.data, f"--pwfile={home / 'password'}", *INITDB.split()]
        if launch(initdb, log, nobody=root).wait(120) != 0:
            raise NoService(f"initdb failed:\n{tail(log)}")
        return made

    def launch(self, port: int) -> subprocess.Popen[bytes]:
        flags = [part for option in OPTIONS.split() for part in ("-c", option)]
        command = [self.binaries / "postgres", "-D", self.data, "-p", str(port), *flags]
        return launch(command, self.log, nobody=os.geteuid() == 0, death_signal=signal.SIGQUIT)

    def url(self, port: int) -> str:
        return f"postgresql://neoforge:{self.password}@127.0.0.1:{port}/postgres"
