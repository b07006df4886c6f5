"""The Host that was asked for and the client's address, read from headers that anyone can send."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from app.core.config import settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@lru_cache(maxsize=1024)
def host_is_known(host: bytes) -> bool:
    """Whether a Host header names one of ours. Its port does not matter, but has to be one."""
    text = host.decode("latin-1").lower()
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return False
        port = rest[1:]
    else:
        name, _, port = text.partition(":")
    return name in settings.hosts and (not port or (port.isascii() and port.isdigit() and len(port) <= 5))


@lru_cache(maxsize=4096)
def read_address(text: str) -> Address | None:
    """`192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]:443`; `::ffff:192.0.2.1` is the first of them."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return found.ipv4_mapped
        if found.scope_id is not None:
            return ipaddress.IPv6Address(int(found))
    return found


@lru_cache(maxsize=4096)
def _trusted(address: Address) -> bool:
    return any(address in network for network in settings.proxies)


def client_address(peer: str | None, forwarded: Sequence[bytes]) -> str | None:
    """The client's address: the peer's, or where our own proxies say that the request came from.

    Each proxy adds its peer at the right, so the first address from the right that is no proxy of ours is the client;
    what stands left of it anyone may have written.
    """
    address = read_address(peer) if peer else None
    if address is None:
        return peer
    if forwarded and _trusted(address):
        for hop in reversed(b",".join(forwarded).decode("latin-1").split(",")):
            found = read_address(hop)
            if found is None:
                break
            address = found
            if not _trusted(address):
                break
    return str(address)
