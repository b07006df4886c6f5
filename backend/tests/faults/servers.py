"""Servers of a test's own, which it may kill, stop and start again where they were."""

import secrets
import signal
import subprocess
from pathlib import Path

from tests.binaries import redis_answers, redis_binary
from tests.postgres import Cluster
from tests.processes import end, free_port, launch
from tests.services import postgres_answers
from tests.waiting import eventually


class Own:
    """A server on a port of its own. `start` returns once it answers."""

    def __init__(self, log: Path) -> None:
        self.port, self.password, self.log = free_port(), secrets.token_hex(8), log
        self.process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """As a crash would: no handler runs."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """It takes connections, as its kernel does, and says no more."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end, and wait until it has."""
        self.resume()
        end(self.process, signum)


class Redis(Own):
    """It keeps nothing: what was in it is lost when it ends."""

    @property
    def url(self) -> str:
        return self.database(0)

    def database(self, number: int) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{number}"

    async def start(self) -> None:
        lines = f'port {self.port}\nbind 127.0.0.1\nrequirepass {self.password}\nsave ""\nappendonly no\n'
        self.process = launch([redis_binary(), "-"], self.log, stdin=lines)
        await eventually(lambda: redis_answers(self.port, self.password))


class Postgres(Own):
    """It keeps what it has committed. `folder` is new, and every user can enter it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(0o711)
        self._cluster = Cluster.make(folder)
        super().__init__(self._cluster.log)

    @property
    def url(self) -> str:
        return self._cluster.url(self.port)

    async def start(self) -> None:
        self.process = self._cluster.launch(self.port)
        await eventually(lambda: postgres_answers(self.url))
