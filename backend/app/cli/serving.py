"""The API's processes: one, or several that share a socket and a folder of metrics."""

import asyncio
import gc
import os
import signal
import socket
from contextlib import ExitStack
from threading import Timer
from types import FrameType
from typing import Any

import click
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.importer import import_from_string
from uvicorn.supervisors import Multiprocess

from app.core import secret_check
from app.core.config import settings
from app.core.db import dispose
from app.core.logging import set_up
from app.core.metrics_folder import metrics_folder
from app.core.process import die_with_parent, listen
from app.services import health

ACCEPTED_AT_ONCE = 16  # connections in one turn of the loop: uvloop takes one of each listening socket
FAILED = "the API did not start: the log above says why"


def serve(*, workers: int, host: str | None, port: int | None, fd: int | None) -> None:
    """Answer until SIGTERM or SIGINT.

    Raises:
        CannotRun: the port is taken, or SECRET_KEY is not the installation's.
        ClickException: the application does not start.
    """
    set_up("api")
    if not settings.rate_limit_processes:
        os.environ["RATE_LIMIT_PROCESSES"] = str(workers)  # each of them reads it
    asyncio.run(_compare_secrets())
    config = uvicorn.Config(
        "app.cli.serving:application",
        factory=True,
        workers=workers,
        loop="uvloop",
        http="app.api.protocol:Protocol",
        ws="none",
        lifespan="on",
        server_header=False,
        access_log=False,
        proxy_headers=False,
        log_config=None,
        timeout_graceful_shutdown=settings.shutdown_timeout,
    )
    if fd is None:
        sock = listen(host or settings.host, settings.port if port is None else port)
    else:
        sock = socket.socket(fileno=fd)
    with ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(sock if n == 0 else sock.dup()) for n in range(ACCEPTED_AT_ONCE)]
        if workers == 1:
            _run_one(uvicorn.Server(config), sockets)
        else:
            _run_several(config, sockets)


async def _compare_secrets() -> None:
    try:
        await secret_check.compare_if_possible()
    finally:
        await dispose()


def application() -> Any:
    """The application, in the process that answers."""
    if parent := os.environ.get("NEOFORGE_SERVED_BY"):
        die_with_parent(int(parent), signal.SIGTERM)
    gc.disable()  # until all is loaded
    set_up("api", together=True)
    _drain_before_stopping()
    loaded = import_from_string("app.main:app")  # by name: the commands and the application do not import each other
    _collect_seldom()
    return loaded


def _collect_seldom() -> None:
    """Requests leave hardly any cycles, and each search for some goes over all that is under way.

    With 512 requests at once and Python's own 700 allocations a search, each took 215 to 233 µs of CPU; 151 to 169 so.
    """
    gc.freeze()  # what is loaded stays
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


def _drain_before_stopping() -> None:
    """On SIGTERM say `503` at readiness for DRAIN_SECONDS, and answer meanwhile: a balancer looks elsewhere in time."""
    stop = signal.getsignal(signal.SIGTERM)
    if not settings.drain_seconds or not callable(stop):
        return
    told = False

    def drain(signum: int, frame: FrameType | None) -> None:
        nonlocal told
        if told:  # a second time: at once
            stop(signum, frame)
            return
        told = True
        health.draining(True)
        waiting = Timer(settings.drain_seconds, stop, (signum, frame))
        waiting.daemon = True
        waiting.start()

    signal.signal(signal.SIGTERM, drain)


def _run_one(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: None)  # the server raises them again when it is done, and done is exit code 0
    try:
        server.run(sockets=sockets)
    except SystemExit:
        raise click.ClickException(FAILED) from None


def _run_several(config: uvicorn.Config, sockets: list[socket.socket]) -> None:
    with metrics_folder():
        os.environ["NEOFORGE_SERVED_BY"] = str(os.getpid())
        processes = Processes(config, sockets)
        processes.run()
    if any(process.exitcode == STARTUP_FAILURE for process in processes.processes):
        raise click.ClickException(FAILED)


class Processes(Multiprocess):
    """Uvicorn's own, which also stops listening with its children, and forgets the live gauges of the ended."""

    _seen: frozenset[int | None] = frozenset()

    def terminate_all(self) -> None:
        super().terminate_all()
        for sock in self.sockets:  # else new connections would wait here for an answer until the last child has ended
            sock.close()

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        now = frozenset(process.pid for process in self.processes)
        for pid in self._seen - now:
            from prometheus_client.multiprocess import mark_process_dead

            mark_process_dead(pid)  # type: ignore[no-untyped-call]  # the library has not typed it
        self._seen = now
