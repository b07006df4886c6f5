"""`/metrics` of a worker and of a scheduler, on a port of their own: a thread that answers Prometheus."""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from hmac import compare_digest
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from typing import Any

import structlog

from app.core.config import settings
from app.core.exposition import exposition, fold_ended
from app.core.process import CannotRun, listen

TIMEOUT = 5.0  # seconds that a client may take for its request
log = structlog.get_logger()


class Handler(BaseHTTPRequestHandler):
    """Answers `GET /metrics`."""

    server: "Scraped"
    timeout = TIMEOUT

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self._answer(HTTPStatus.NOT_FOUND)
        elif not self._may_read():
            self._answer(HTTPStatus.UNAUTHORIZED, ("WWW-Authenticate", "Bearer"))
        else:
            content, content_type = self.server.measured(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, ("Content-Type", content_type), content=content)

    def _may_read(self) -> bool:
        if not settings.is_production or not settings.metrics_token:
            return True
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        right = compare_digest(token.strip().encode(), settings.metrics_token.encode())
        return right and scheme.lower() == "bearer"

    def _answer(self, status: HTTPStatus, *headers: tuple[str, str], content: bytes = b"") -> None:
        self.send_response_only(status)
        for name, value in (*headers, ("Cache-Control", "no-store"), ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def send_error(self, *_: Any, **__: Any) -> None:
        """Whatever it is, it is not what is answered here: the library's own page would name its version."""
        self.close_connection = True
        with suppress(OSError):
            self._answer(HTTPStatus.NOT_FOUND)

    def log_message(self, *_: Any) -> None:
        """Nothing: it is asked every few seconds."""


class Scraped(ThreadingHTTPServer):
    """The server. One scrape is measured at a time."""

    daemon_threads = True

    def __init__(self, listening: socket, measure: Callable[[], None]) -> None:
        super().__init__(listening.getsockname()[:2], Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self._measure, self._one = measure, threading.Lock()

    def measured(self, accept: str) -> tuple[bytes, str]:
        with self._one:
            self._measure()
            return exposition(accept)

    def handle_error(self, *_: Any) -> None:
        """The client went away, most likely."""
        log.info("metrics_not_sent", error=type(sys.exception()).__name__)


def serve(port: int, measure: Callable[[], None] = fold_ended) -> None:
    """Answer on METRICS_HOST and `port` (0: any free one) until this process ends; before each answer `measure`.

    A port that cannot be had is told in the log, and nothing else comes of it.
    """
    try:
        listening = listen(settings.metrics_host, port)
    except CannotRun:
        log.warning("metrics_not_served", host=settings.metrics_host, port=port, reason="it cannot listen there")
        return
    os.register_at_fork(after_in_child=listening.close)  # else a child would keep the port past its parent
    server = Scraped(listening, measure)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    log.info("metrics_served", host=settings.metrics_host, port=listening.getsockname()[1])
