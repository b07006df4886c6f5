"""Cross-origin requests: exact origins, credentials allowed."""

from collections.abc import Mapping

from app.core.config import settings
from app.core.errors import CrossOriginRefused

RawHeaders = list[tuple[bytes, bytes]]

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Accept",
    "Accept-Language",
    "Content-Language",
    "If-Match",
    "If-None-Match",
    "Idempotency-Key",
    "Last-Event-ID",
    "X-Request-ID",
    "X-Token-Delivery",
    "traceparent",
    "tracestate",
)
EXPOSED = (
    "X-Request-ID",
    "ETag",
    "Location",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "Idempotency-Replayed",
    "WWW-Authenticate",
)
MAX_AGE = 600  # seconds that a browser may remember a preflight

_ORIGINS = frozenset(origin.encode() for origin in settings.origins)
_HEADER_NAMES = frozenset(name.lower() for name in REQUEST_HEADERS)
_VARY = (b"vary", b"Origin")
_SHARED: RawHeaders = [
    (b"access-control-allow-credentials", b"true"),
    (b"access-control-expose-headers", ", ".join(EXPOSED).encode()),
]
_PREFLIGHT: RawHeaders = [
    (b"access-control-allow-methods", ", ".join(METHODS).encode()),
    (b"access-control-allow-headers", ", ".join(REQUEST_HEADERS).encode()),
    (b"access-control-max-age", str(MAX_AGE).encode()),
    (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
]


def headers_for(origin: bytes | None) -> RawHeaders:
    """What every answer to a request from `origin` carries."""
    if origin is None or origin not in _ORIGINS:
        return [_VARY]
    return [_VARY, (b"access-control-allow-origin", origin), *_SHARED]


def preflight(seen: Mapping[bytes, bytes]) -> RawHeaders:
    """What lets the announced request pass, beside what every answer carries.

    Raises:
        CrossOriginRefused: the origin, the method or a header is not allowed.
    """
    if seen[b"origin"] not in _ORIGINS:
        raise CrossOriginRefused("Requests from this origin are not allowed")
    if seen[b"access-control-request-method"].decode("latin-1") not in METHODS:
        raise CrossOriginRefused("This method is not allowed from another origin")
    wanted = seen.get(b"access-control-request-headers", b"").decode("latin-1").lower().split(",")
    if any(name.strip() and name.strip() not in _HEADER_NAMES for name in wanted):
        raise CrossOriginRefused("A header is not allowed from another origin")
    return list(_PREFLIGHT)
