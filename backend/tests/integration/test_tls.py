"""What crosses a network in production is spoken over TLS with a checked certificate: real handshakes, both ways."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlsplit

import aiosmtplib
import pytest
from aiosmtpd.smtp import SMTP
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import text

from app.core import email
from app.core.config import Environment, settings
from app.core.db import build_engine
from app.core.redis import build_client, close_client
from app.worker.celery import celery_app, connect
from tests.services import Services
from tests.tls import Certificate, certificate, door

pytestmark = pytest.mark.any_server


@pytest.fixture
def ours(tmp_path: Path) -> Certificate:
    return certificate(tmp_path, "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Certificate:
    """As somebody on the way would show it."""
    return certificate(tmp_path, "theirs")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Certificate:
    """Of an authority that is trusted, for another host."""
    return certificate(tmp_path, "elsewhere", host="other.example")


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


async def select_one(url: str) -> int:
    engine = build_engine(url, pool_size=1)
    try:
        async with engine.connect() as connection:
            return int((await connection.execute(text("SELECT 1"))).scalar_one())
    finally:
        await engine.dispose()


def at(url: str, port: int, query: str) -> str:
    parts = urlsplit(url or "postgresql://u:p@127.0.0.1/x")
    return parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}", query=query).geturl()


async def test_postgresql_is_verified(
    services: Services, ours: Certificate, theirs: Certificate, elsewhere: Certificate
) -> None:
    url = services.postgres_url
    target = (urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port or 1)
    if url:  # the server stack has one
        async with door(target, ours, postgres=True) as port:
            assert await select_one(at(url, port, f"sslmode=verify-full&sslrootcert={ours.authority}")) == 1
    async with door(target, theirs, postgres=True) as port:
        for query in (f"sslmode=verify-full&sslrootcert={ours.authority}", "sslmode=verify-full"):
            with pytest.raises(ssl.SSLCertVerificationError):
                await select_one(at(url, port, query))
    async with door(target, elsewhere, postgres=True) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
            await select_one(at(url, port, f"sslmode=verify-full&sslrootcert={elsewhere.authority}"))


@pytest.mark.stack(name="server")
async def test_the_systems_roots_are_trusted_for_postgresql(
    services: Services, ours: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ours.authority))
    parts = urlsplit(services.postgres_url)
    async with door((parts.hostname or "", parts.port or 0), ours, postgres=True) as port:
        assert await select_one(at(services.postgres_url, port, "sslmode=verify-full")) == 1


# --- Redis, for us and for Celery -----------------------------------------------------------------------------------


def secured(services: Services, port: int, authority: Path) -> str:
    parts = urlsplit(services.redis_url)
    return f"rediss://:{parts.password}@127.0.0.1:{port}/0?ssl_ca_certs={authority}"


async def ping(url: str) -> None:
    client = build_client(url)
    try:
        await client.ping()
    finally:
        await close_client(client)


@pytest.fixture
def broker() -> Iterator[None]:
    """Puts Celery's settings back."""
    names = ("broker_url", "broker_use_ssl", "broker_transport_options")
    before = {name: celery_app.conf[name] for name in names}
    yield
    celery_app.conf.update(before)


def ring(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect as the relay and the worker do."""
    # The address alone, which is read from frozen settings: what connects, and checks, is real.
    monkeypatch.setattr("app.core.redis.redis_url", lambda: url)
    connect("tls:")
    with celery_app.connection(connect_timeout=5) as connection:
        connection.ensure_connection(max_retries=0, timeout=5)
        connection.default_channel.client.ping()


async def test_redis_is_verified_by_us_and_by_celery(
    services: Services,
    ours: Certificate,
    theirs: Certificate,
    elsewhere: Certificate,
    broker: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = (urlsplit(services.redis_url).hostname or "", urlsplit(services.redis_url).port or 0)
    async with door(target, ours) as port:
        await ping(secured(services, port, ours.authority))
        await asyncio.to_thread(ring, secured(services, port, ours.authority), monkeypatch)
    async with door(target, ours) as port:  # nothing said of certificates, and an authority that nobody here knows
        bare = secured(services, port, ours.authority).partition("?")[0]
        for attempt in (ping(bare), asyncio.to_thread(ring, bare, monkeypatch)):
            with pytest.raises(Exception, match="certificate verify failed"):
                await attempt
    for shown, trusted in ((theirs, ours), (elsewhere, elsewhere)):
        async with door(target, shown) as port:
            with pytest.raises(RedisConnectionError, match="certificate verify failed"):
                await ping(secured(services, port, trusted.authority))
            with pytest.raises(Exception, match="certificate verify failed"):
                await asyncio.to_thread(ring, secured(services, port, trusted.authority), monkeypatch)


# --- mail -----------------------------------------------------------------------------------------------------------


class Kept:
    """What an SMTP server took in, and whether in clear."""

    def __init__(self) -> None:
        self.in_clear: list[bool] = []

    async def handle_DATA(self, _server, session, _envelope) -> str:  # noqa: N802 - aiosmtpd looks for this name
        self.in_clear.append(session.ssl is None)
        return "250 OK"


@asynccontextmanager
async def mail_server(kept: Kept, shown: Certificate | None, *, at_once: bool = False) -> AsyncIterator[int]:
    """The port of a server that speaks TLS from the start, or offers STARTTLS, with this certificate; None: neither."""
    offered = shown.context() if shown else None
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(kept, tls_context=None if at_once else offered),
        "127.0.0.1",
        0,
        ssl=offered if at_once else None,
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def mailed(monkeypatch: pytest.MonkeyPatch, port: int, *, scheme: str = "smtp", **production: object) -> None:
    """Send one mail as production does, to a host that lies beyond this machine."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.com", "b@example.com", "Hello"
    values = {"environment": Environment.production, "plaintext_hosts": (), **production}
    there = settings.model_copy(update={"smtp_url": f"{scheme}://127.0.0.1:{port}", **values})
    # Test traffic stays on loopback, which is exempt: here it stands for a host beyond this machine.
    monkeypatch.setattr("app.core.config.is_local", lambda _host: False)
    monkeypatch.setattr(email, "settings", there)
    await email.send(message)


@pytest.fixture
def kept() -> Kept:
    return Kept()


async def test_mail_goes_over_starttls_with_a_certificate_that_is_checked(
    kept: Kept, ours: Certificate, theirs: Certificate, elsewhere: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ours.authority))
    async with mail_server(kept, ours) as port:
        await mailed(monkeypatch, port)
    assert kept.in_clear == [False]
    for shown, trusted in ((theirs, ours), (elsewhere, elsewhere)):
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted.authority))
        for at_once in (False, True):
            async with mail_server(kept, shown, at_once=at_once) as port:
                with pytest.raises((aiosmtplib.SMTPException, OSError), match="certificate"):
                    await mailed(monkeypatch, port, scheme="smtps" if at_once else "smtp")
    assert kept.in_clear == [False]


async def test_a_server_without_starttls_gets_no_mail_from_production(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mail_server(kept, None) as port:
        with pytest.raises(aiosmtplib.SMTPException, match="STARTTLS"):
            await mailed(monkeypatch, port)
        assert kept.in_clear == []
        await mailed(monkeypatch, port, plaintext_hosts=("127.0.0.1",))
        await mailed(monkeypatch, port, environment=Environment.development)
    assert kept.in_clear == [True, True]
