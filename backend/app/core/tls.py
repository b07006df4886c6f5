"""Speaking to other servers over TLS: who has to, and what "verified" means for each kind of URL.

In production everything beyond this machine is spoken to over TLS with the server's certificate and name checked, but
for hosts that PLAINTEXT_HOSTS names, such as the neighbours on a private network of containers.
"""

import ipaddress
import os
import ssl
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

VERIFIED = "verify-full"  # libpq's word for: the certificate is checked, and it is this host's
_NO = ("false", "0", "no", "none", "optional", "cert_none", "cert_optional")


def is_local(host: str) -> bool:
    """Whether `host` is this machine: loopback, or a Unix socket."""
    if host in ("", "localhost") or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def distant_hosts(url: str, allowed: Collection[str]) -> list[str]:
    """The hosts of a database's or Redis's URL that are neither this machine nor allowed to be spoken to in clear."""
    return [host for host in _hosts(url) if not is_local(host) and host.lower() not in allowed]


def _hosts(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    places = [place.rpartition("@")[2] for place in parts.netloc.split(",")]
    places += [place for joined in parse_qs(parts.query).get("host", []) for place in joined.split(",")]
    named = [place for place in places if place]
    for place in named or [os.environ.get("PGHOST", "") if parts.scheme.startswith("postgres") else ""]:
        yield place[1:].partition("]")[0] if place.startswith("[") else place.rpartition(":")[0] or place


def is_verified(url: str) -> bool:
    """Whether what this URL asks for is TLS with the server's certificate and name checked."""
    parts = urlsplit(url)
    said = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if parts.scheme.startswith("postgres"):
        return said.get("sslmode") == VERIFIED
    checks = (said.get("ssl_cert_reqs", ""), said.get("ssl_check_hostname", ""))
    return parts.scheme.startswith("rediss") and not any(check.lower() in _NO for check in checks)


def for_postgresql(query: Mapping[str, Any]) -> str | ssl.SSLContext | None:
    """What our driver takes in place of libpq's `sslmode`, `sslrootcert`, `sslcert` and `sslkey`; None: its default.

    The driver itself would look for roots in the home folder only, and refuse `verify-full` without them: here they are
    the system's, or those of `sslrootcert`.
    """
    mode, roots = query.get("sslmode") or query.get("ssl"), query.get("sslrootcert")
    if mode not in ("verify-ca", VERIFIED) and not (mode == "require" and roots):
        return mode
    context = ssl.create_default_context(cafile=None if roots in (None, "system") else roots)
    context.check_hostname = mode == VERIFIED
    if query.get("sslcert"):
        context.load_cert_chain(query["sslcert"], query.get("sslkey"))
    return context


def for_redis(url: str) -> dict[str, Any]:
    """The options that make a client of Redis, ours or Celery's, check what it speaks to; empty without TLS."""
    parts = urlsplit(url)
    if not parts.scheme.startswith("rediss"):
        return {}
    said = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    checked = {
        "ssl_cert_reqs": said.get("ssl_cert_reqs", "required").lower().removeprefix("cert_"),
        "ssl_check_hostname": said.get("ssl_check_hostname", "").lower() not in _NO,
    }
    files = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
    return checked | {name: said[name] for name in files if name in said}
