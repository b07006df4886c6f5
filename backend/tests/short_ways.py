"""What both short ways are held to: a request counts, and is logged, as on the usual way."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from structlog.testing import capture_logs

from app.core.metrics import REQUEST_COUNT

USUALLY: dict[str, Any] = {"params": {"the": "usual way"}}
"""A query, which no short way takes."""


@contextmanager
def recorded_once(method: str, path: str) -> Iterator[None]:
    """One request within the block is answered with 200, counted and logged under its route."""
    counter = REQUEST_COUNT.labels(method=method, endpoint=path)
    before = counter._value.get()
    with capture_logs() as logs:
        yield
    assert counter._value.get() == before + 1
    [line] = [line for line in logs if line["event"] == "request_finished"]
    assert {**line, "duration_ms": 0} == {
        "event": "request_finished", "log_level": "info", "method": method, "route": path, "status": 200,
        "duration_ms": 0,
    }  # fmt: skip
