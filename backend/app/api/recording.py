"""What is kept of a request once it has been answered: two metrics and one log line."""

import hmac
from functools import lru_cache
from typing import Any

import structlog
from prometheus_client import Counter, Histogram
from starlette.types import Scope

from app.core.metrics import REQUEST_COUNT, REQUEST_DURATION, RESPONSE_COUNT
from app.core.networks import client_of
from app.core.secrets import derive_key

CLOSED = 499  # the client went away before there was an answer (nginx's number for it)
ANSWERED = "neoforge.answered"  # where an event stream puts into the scope when it began
REFUSED = 400  # statuses from here on: such lines name the client, by a pseudonym
UNMATCHED = "unmatched"
OTHER_METHOD = "OTHER"
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})

log = structlog.get_logger()


def route_template(scope: Scope) -> str:
    """The route that answered, as it is written in the code (`/api/v1/tasks/{id}`): never a value of the path."""
    context = scope.get("fastapi", {}).get("effective_route_context")
    route = getattr(context, "starlette_route", None) or context or scope.get("route")
    return getattr(route, "path_format", None) or UNMATCHED


_series: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
"""The metrics of each route, looked up once. Bounded by the routes and methods that there are."""
_answers: dict[int, Counter] = {}


def record(scope: Scope, status: int, began: float, ended: float) -> None:
    """Count and log one request; the times are of `perf_counter`. An event stream took as long as its beginning did.

    Its path, query and body are nobody's business here.

    The line has the caller's id and a refusal's code too, since `bind_contextvars` was told of them on the way.
    """
    method: str = scope["method"] if scope["method"] in METHODS else OTHER_METHOD
    route = route_template(scope)
    series = _series.get((method, route))
    if series is None:
        labels: dict[str, Any] = {"method": method, "endpoint": route}
        series = _series[method, route] = (REQUEST_COUNT.labels(**labels), REQUEST_DURATION.labels(**labels))
    series[0].inc()
    series[1].observe(scope.get(ANSWERED, ended) - began)
    status = status or CLOSED
    if status not in _answers:
        _answers[status] = RESPONSE_COUNT.labels(status=status)
    _answers[status].inc()
    said: dict[str, Any] = {
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": round((ended - began) * 1e3, 2),
    }
    if status >= REFUSED:
        peer = scope.get("client")
        said["client"] = _pseudonym(peer[0] if peer else None)
    log.info("request_finished", **said)


@lru_cache(maxsize=4096)
def _pseudonym(address: str | None) -> str:
    """A client as it stands in a log: the same for all its requests, and no address for whoever reads it."""
    return hmac.digest(derive_key("log-client"), client_of(address).encode(), "sha256").hex()[:16]
