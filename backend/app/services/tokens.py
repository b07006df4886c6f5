"""Refresh and mail tokens: derived, never stored. The row has a salt, the secret a key; neither alone makes a token."""

import base64
import binascii
import hashlib
import hmac
import secrets
import struct
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import UUID

from app.core.secrets import derive_key, key_id
from app.core.sql import new_id
from app.models.mail_token import MailToken

REFRESH_PREFIX, MAIL_PREFIX = "nfr_", "nfm_"
_REFRESH = struct.Struct(">16sI32s")
_MAIL = struct.Struct(">16s32s")


def new_salt() -> bytes:
    return secrets.token_bytes(16)


def fingerprint(token: str) -> str:
    """SHA-256 of a token, hexadecimal: what may be stored and compared."""
    return hashlib.sha256(token.encode()).hexdigest()


class Root(Protocol):
    """What a session's refresh tokens are made from. It never changes."""

    @property
    def id(self) -> UUID: ...
    @property
    def key_id(self) -> str: ...
    @property
    def salt(self) -> bytes: ...


class Seed(NamedTuple):
    """That of a session which has no row yet."""

    id: UUID
    key_id: str
    salt: bytes


def new_seed() -> Seed:
    return Seed(new_id(), key_id(), new_salt())


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token as it was presented: well-formed, not yet proven."""

    session_id: UUID
    generation: int
    mac: bytes

    def is_of(self, session: Root) -> bool:
        """Whether this installation made it for that session, whatever its generation."""
        if session.key_id != key_id():
            return False
        return hmac.compare_digest(self.mac, _refresh_mac(session.id, self.generation, session.salt))


def refresh_token(session: Root, generation: int) -> str:
    """The refresh token of a session's generation: `nfr_` and base64url of session id, generation and MAC."""
    mac = _refresh_mac(session.id, generation, session.salt)
    return REFRESH_PREFIX + _encode(_REFRESH.pack(session.id.bytes, generation, mac))


def parse_refresh_token(token: str) -> RefreshToken | None:
    raw = _decode(token, REFRESH_PREFIX, _REFRESH.size)
    if raw is None:
        return None
    session, generation, mac = _REFRESH.unpack(raw)
    return RefreshToken(UUID(bytes=session), generation, mac)


def mail_token(row: MailToken) -> str:
    """The token in a mail's link."""
    return MAIL_PREFIX + _encode(_MAIL.pack(row.id.bytes, _mail_mac(row)))


def parse_mail_token(token: str) -> tuple[UUID, bytes] | None:
    """The row that the token names, and the MAC that has to be `mail_mac_matches`."""
    raw = _decode(token, MAIL_PREFIX, _MAIL.size)
    if raw is None:
        return None
    row, mac = _MAIL.unpack(raw)
    return UUID(bytes=row), mac


def mail_mac_matches(row: MailToken, mac: bytes) -> bool:
    return row.key_id == key_id() and hmac.compare_digest(mac, _mail_mac(row))


def _refresh_mac(session_id: UUID, generation: int, salt: bytes) -> bytes:
    return _mac("refresh", session_id.bytes, struct.pack(">I", generation), salt)


def _mail_mac(row: MailToken) -> bytes:
    return _mac(
        "mail", row.purpose.encode().ljust(16, b"\0"), row.id.bytes, row.user_id.bytes, row.salt, row.email.encode()
    )


def _mac(purpose: str, *parts: bytes) -> bytes:
    return hmac.digest(derive_key(purpose), b"".join(parts), "sha256")


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(token: str, prefix: str, size: int) -> bytes | None:
    """The bytes of a token in its one spelling, or None."""
    if not token.startswith(prefix) or not token.isascii():
        return None
    body = token[len(prefix) :]
    try:
        raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == size and _encode(raw) == body else None
