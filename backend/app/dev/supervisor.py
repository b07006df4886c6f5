"""`make dev`: the whole system under one process. It imports neither the web framework nor Celery, to start fast."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from app.core.clock import utc_now
from app.core.config import settings
from app.core.process import CannotRun, die_with_parent, listen, url_host
from app.dev import probe
from app.dev.child import Child, say
from app.dev.embedded import Valkey
from app.dev.mailbox import Catcher, Mailbox
from app.dev.state import State

APP = Path(__file__).resolve().parents[1]
RENEW_WITHIN = 5.0  # seconds for open requests and tasks to end when the code has changed
VALKEY_WITHIN = 5.0  # seconds for Valkey to load or to end
WORKER_WITHIN = 30.0  # seconds after which the start is announced without the worker


def run() -> None:
    """Run until SIGINT or SIGTERM.

    Raises:
        CannotRun: production, a taken port, a DATA_DIR in use, or no Valkey for this platform.
    """
    if settings.is_production:
        raise CannotRun("`neoforge dev` does not run in production: use `neoforge serve`, `worker` and `scheduler`")
    if "MAKELEVEL" in os.environ:  # a killed make would leave us behind
        die_with_parent(os.getppid(), signal.SIGTERM)
    os.umask(0o077)
    state = State(settings.data_dir)
    with listen(settings.host, settings.port) as listener:
        state.sweep()
        asyncio.run(Supervisor(state, listener).run())


class Supervisor:
    """Starts the parts in the order of their needs, and ends them in the opposite one."""

    def __init__(self, state: State, listener: socket.socket) -> None:
        self._state, self._listener = state, listener
        self._port: int = listener.getsockname()[1]
        self._url = f"http://{url_host(settings.host)}:{self._port}"
        self._env = {
            **os.environ,
            "ENVIRONMENT": settings.environment,
            "HOST": settings.host,
            "PORT": str(self._port),
            "DATA_DIR": str(settings.data_dir),
            "PYTHONUNBUFFERED": "1",
        }
        if sys.stdout.isatty():
            self._env["FORCE_COLOR"] = "1"
        self._env.pop("MAKELEVEL", None)
        self._stopping = asyncio.Event()
        self._in_haste = asyncio.Event()
        self._valkey: Child | None = None
        self._catcher: Catcher | None = None
        self._code: list[Child] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._fault: BaseException | None = None
        self._began, self._since = time.monotonic(), utc_now()

    async def run(self) -> None:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(signum, self._asked_to_stop, signum)
        self._background(self._start())
        try:
            await self._stopping.wait()
        finally:
            await self._stop()
        if self._fault:
            raise self._fault

    def _asked_to_stop(self, signum: signal.Signals) -> None:
        if self._stopping.is_set() and signum == signal.SIGINT:
            self._in_haste.set()  # Ctrl-C a second time
        self._stopping.set()

    # --- start ---

    async def _start(self) -> None:
        redis_url = "" if settings.redis_url else await self._start_valkey()
        smtp_url = "" if settings.smtp_url else self._start_catcher()
        self._env |= {name: url for name, url in (("REDIS_URL", redis_url), ("SMTP_URL", smtp_url)) if url}
        self._state.write_stack(redis_url=redis_url, smtp_url=smtp_url, pid=os.getpid(), url=self._url)
        if not await self._migrated():  # the database may come later: the parts start without it, and join it then
            self._background(self._keep_trying_to_migrate())
        listener = self._listener.fileno()
        self._code = [
            self._child("api", "serve", "--fd", str(listener), fds=(listener,)),
            self._child("worker", "worker"),
            self._child("scheduler", "scheduler"),
        ]
        for child in self._code:
            self._background(child.keep())
        self._background(self._announce())
        self._background(self._reload())

    async def _start_valkey(self) -> str:
        server = Valkey.prepare(settings.data_dir)
        self._valkey = Child(
            "valkey", server.command, state=self._state, env=server.environment, cwd=server.folder, fds=(server.lock,)
        )
        self._background(self._valkey.keep())
        await probe.until(server.answers, VALKEY_WITHIN)  # a large file may take longer; the others wait by themselves
        return server.url

    def _start_catcher(self) -> str:
        self._catcher = Catcher(Mailbox(settings.data_dir / "mailbox"))
        self._catcher.start()
        return self._catcher.url

    def _child(self, name: str, *arguments: str, fds: tuple[int, ...] = ()) -> Child:
        command = [sys.executable, "-m", "app.cli", *arguments]
        return Child(name, command, state=self._state, env=self._env, cwd=APP.parent, fds=fds)

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the others; should it fail, everything ends and the fault is told."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception():
            self._fault = self._fault or task.exception()
            self._stopping.set()

    async def _migrated(self) -> bool:
        if probe.at_head(settings.migration_database_url):
            return True
        return await self._child("migrate", "db", "upgrade").run() == 0

    async def _keep_trying_to_migrate(self) -> None:
        pause = 1.0
        await asyncio.sleep(pause)
        while not await self._migrated():
            pause = min(2 * pause, 30.0)
            await asyncio.sleep(pause)

    async def _announce(self) -> None:
        """Say where everything is, once it answers."""
        address = (url_host(settings.host).strip("[]"), self._port)
        await probe.until(lambda: probe.healthy(address))
        works = await probe.until(lambda: self._worker_answers(address), WORKER_WITHIN)
        mail = f"{self._url}/dev/mailbox" if self._catcher else "goes to SMTP_URL"
        say(
            f"\n  NeoForge runs, {time.monotonic() - self._began:.1f} s after its start"
            f"{'' if works else ' (its worker does not answer yet: see above)'}\n"
            f"    API      {self._url}/api/v1\n"
            f"    Docs     {self._url}/docs\n"
            f"    Mailbox  {mail}\n"
            f"    Stop     Ctrl-C\n"
        )

    async def _worker_answers(self, address: probe.Address) -> bool:
        return probe.worker_came(settings.database_url, self._since) and await probe.worker_alive(address)

    async def _reload(self) -> None:
        """Start the parts anew when their code changes."""
        from app.dev import reload  # while the parts start, not before

        async for names in reload.changes(APP, self._stopping):
            say(f"changed: {names}; starting anew")
            await asyncio.gather(*(child.renew(RENEW_WITHIN) for child in self._code))

    # --- stop ---

    async def _stop(self) -> None:
        self._stopping.set()
        self._listener.close()  # nobody is answered any more: a new connection is refused at once
        self._tasks[0].cancel()  # the start, should it still be under way
        await asyncio.gather(self._tasks[0], return_exceptions=True)
        ended = asyncio.create_task(self._stop_code(settings.shutdown_timeout))
        hurry = asyncio.create_task(self._in_haste.wait())
        either: set[asyncio.Future[Any]] = {ended, hurry}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        await self._stop_code(0)
        await ended
        if self._valkey:
            await self._valkey.stop(VALKEY_WITHIN)
        if self._catcher:
            await asyncio.to_thread(self._catcher.stop)
        for task in (*self._tasks, hurry):
            task.cancel()
        await asyncio.gather(*self._tasks, hurry, return_exceptions=True)
        self._state.forget_stack()

    async def _stop_code(self, within: float) -> None:
        await asyncio.gather(*(child.stop(within) for child in self._code))
