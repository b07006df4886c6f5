"""Which addresses count as one. An IPv6 customer holds a /64 at least, so a single address of it says nothing."""

import ipaddress
from functools import lru_cache

NOBODY = "none"  # a request without an address: over a Unix socket


@lru_cache(maxsize=4096)
def client_of(address: str | None) -> str:
    """Whose requests are counted together: an IPv4 address, or an IPv6 /64."""
    return _within(address, v4=32, v6=64)


@lru_cache(maxsize=4096)
def network_of(address: str | None) -> str:
    """Where an account's owner is at home: an IPv4 /24, or an IPv6 /64."""
    return _within(address, v4=24, v6=64)


def _within(address: str | None, *, v4: int, v6: int) -> str:
    if address is None:
        return NOBODY
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:49]
    return str(ipaddress.ip_network((found, v4 if found.version == 4 else v6), strict=False))
