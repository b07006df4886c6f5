"""What the short ways are held to: a request is answered, counted and logged as on the usual way."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from httpx2 import Response
from structlog.testing import capture_logs

from app.core.metrics import REQUEST_COUNT

USUALLY: dict[str, Any] = {"params": {"the": "usual way"}}
"""A query, which no short way takes."""

OF_ONE_ANSWER = frozenset({"x-request-id", "ratelimit", "date"})


def comparable(answer: Response) -> tuple[int, list[tuple[str, str]], list[tuple[str, Any]]]:
    """The answer without what each one has of its own."""
    headers = sorted((name, value) for name, value in answer.headers.items() if name not in OF_ONE_ANSWER)
    is_token = ("ey", "nfr_")
    body = [(name, str(value).startswith(is_token) or value) for name, value in answer.json().items()]
    return answer.status_code, headers, [one for one in body if one[0] != "request_id"]


@contextmanager
def recorded_once(method: str, path: str, status: int = 200) -> Iterator[None]:
    """One request within the block is answered with this status, counted and logged under its route."""
    counter = REQUEST_COUNT.labels(method=method, endpoint=path)
    before = counter._value.get()
    with capture_logs() as logs:
        yield
    assert counter._value.get() == before + 1
    [line] = [line for line in logs if line["event"] == "request_finished"]
    assert {**line, "duration_ms": 0} == {
        "event": "request_finished", "log_level": "info", "method": method, "route": path, "status": status,
        "duration_ms": 0,
    }  # fmt: skip
