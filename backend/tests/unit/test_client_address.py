import ipaddress

import pytest

from app.api import client
from app.core.config import settings


@pytest.fixture
def proxies(monkeypatch):
    """Trust 10.0.0.0/8 and 2001:db8:1::/48, as TRUSTED_PROXIES would."""
    client._trusted.cache_clear()
    trusted = tuple(ipaddress.ip_network(network) for network in ("10.0.0.0/8", "2001:db8:1::/48"))
    monkeypatch.setitem(settings.__dict__, "proxies", trusted)
    yield
    client._trusted.cache_clear()


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.1", [b"198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.7"], "198.51.100.7"),
        ("::ffff:10.0.0.1", [b"198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [b"1.1.1.1, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [b"1.1.1.1, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", [b"1.1.1.1", b"198.51.100.7", b"10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", [b"198.51.100.7:4711"], "198.51.100.7"),
        ("10.0.0.1", [b"[2001:db8::7]:4711"], "2001:db8::7"),
        ("10.0.0.1", [b"2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", [b"::ffff:198.51.100.7"], "198.51.100.7"),
        ("2001:db8:1::5", [b"198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [b"198.51.100.7, evil"], "10.0.0.1"),
        ("10.0.0.1", [b"evil, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b""], "10.0.0.1"),
        ("10.0.0.1", [b"\xff, ,"], "10.0.0.1"),
        ("fe80::1%eth0", [], "fe80::1"),
        (None, [b"198.51.100.7"], None),
        ("testclient", [b"198.51.100.7"], "testclient"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_proxy_of_ours(proxies, peer, forwarded, found):
    assert client.client_address(peer, forwarded) == found


@pytest.mark.parametrize("host", [b"127.0.0.1", b"127.0.0.1:8000", b"LOCALHOST:1", b"[::1]", b"[::1]:1", b"localhost:"])
def test_our_hosts_are_known_whatever_the_port(host):
    assert client.host_is_known(host)


@pytest.mark.parametrize(
    "host",
    [b"", b"evil", b"localhost.evil", b"evil:8000", b"localhost:x", b"localhost:123456", b"localhost:80:80", b"[::1",
     b"[::1]x", b"::1", b"user@localhost", b"localhost/", b"localhost, localhost", b"\xff", b"localhost:\xb2"],
)  # fmt: skip
def test_other_hosts_are_not(host):
    assert not client.host_is_known(host)
