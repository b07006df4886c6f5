"""Certificates of an authority of our own, and a door that speaks TLS before a server that does not."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.core.clock import utc_now

SSL_REQUEST = bytes.fromhex("0000000804d2162f")  # how a PostgreSQL client asks for TLS


@dataclass(frozen=True)
class Certificate:
    """Files: the certificate with its key, and the authority to trust for it."""

    file: Path
    authority: Path

    def context(self) -> ssl.SSLContext:
        """For the server's side."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.file)
        return made


def certificate(folder: Path, name: str, *, host: str = "127.0.0.1") -> Certificate:
    """A certificate for `host`, from an authority of that `name` which nobody else trusts."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority")])
    root = _signed(issuer, issuer, authority_key, authority_key, [x509.BasicConstraints(ca=True, path_length=0)])
    try:
        place: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        place = x509.DNSName(host)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    extensions = [x509.SubjectAlternativeName([place]), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])]
    own = _signed(subject, issuer, key, authority_key, extensions)
    files = Certificate(folder / f"{name}.pem", folder / f"{name}-authority.pem")
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files.file.write_bytes(own.public_bytes(serialization.Encoding.PEM) + private)
    files.authority.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    return files


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    extensions: list[x509.ExtensionType],
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(utc_now() - timedelta(days=1))
        .not_valid_after(utc_now() + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(by, hashes.SHA256())


@asynccontextmanager
async def door(target: tuple[str, int], shown: Certificate, *, postgres: bool = False) -> AsyncIterator[int]:
    """A port that speaks TLS with this certificate and hands what it hears to `target`."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(task := asyncio.current_task())  # type: ignore[arg-type] # a handler runs in a task
        task.add_done_callback(running.discard)  # type: ignore[union-attr] # as above
        with suppress(OSError, asyncio.IncompleteReadError):
            if postgres:
                assert await reader.readexactly(8) == SSL_REQUEST, "the client does not ask for TLS"
                writer.write(b"S")
                await writer.drain()
                await writer.start_tls(shown.context())
            there, back = await asyncio.open_connection(*target)
            await asyncio.gather(_pass(reader, back), _pass(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=None if postgres else shown.context())
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
