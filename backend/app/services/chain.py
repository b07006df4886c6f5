"""The chain of seals: what one covers, and how it is made. docs/audit.md says what it proves and what it does not."""

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

from app.core.secrets import derive_from, key_id_of, root
from app.models.audit import AuditEvent

GENESIS = bytes(32)
"""What stands for the mac of the seal before the first one."""
_FORM = b"\x01"
"""The version of the form below; another form is another byte, so that no two can be taken for each other."""
_NONE = (2**32 - 1).to_bytes(4, "big")
_EVENT_TEXTS = ("action", "target_type", "target_id", "result", "request_id", "origin")


@dataclass(frozen=True, slots=True)
class Event:
    """An audited event as it is sealed: every column of its row."""

    id: UUID
    created_at: datetime
    actor_id: UUID | None
    action: str
    target_type: str | None
    target_id: str | None
    result: str
    request_id: str | None
    origin: str | None

    @classmethod
    def of(cls, row: AuditEvent) -> "Event":
        texts = {name: getattr(row, name) for name in _EVENT_TEXTS}
        return cls(id=row.id, created_at=row.created_at, actor_id=row.actor_id, **texts)

    def framed(self) -> bytes:
        actor = self.actor_id.bytes if self.actor_id else None
        return frame(self.id.bytes, _moment(self.created_at), actor, *(getattr(self, name) for name in _EVENT_TEXTS))


def frame(*parts: bytes | str | None) -> bytes:
    """`parts` as bytes that no other parts make: each behind its length in four bytes, None as the highest length."""
    made = bytearray()
    for part in parts:
        if part is None:
            made += _NONE
            continue
        raw = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        made += len(raw).to_bytes(4, "big") + raw
    return bytes(made)


@dataclass(frozen=True, slots=True)
class Key:
    """What seals are made with, and its public name."""

    id: str
    secret: bytes = field(repr=False)

    @classmethod
    @lru_cache(maxsize=16)
    def of(cls, supplied: bytes) -> "Key":
        """The key of a SECRET_KEY."""
        return cls(key_id_of(supplied), derive_from(supplied, "audit"))

    @classmethod
    def present(cls) -> "Key":
        return cls.of(root())


def mac(key: Key, previous: bytes, *, sequence: int, sealed_at: datetime, event: Event) -> bytes:
    """The mac of a seal: over the one before, every other column of its own row, and the event."""
    seal = frame(previous, sequence.to_bytes(8, "big"), key.id, _moment(sealed_at))
    return hmac.digest(key.secret, _FORM + seal + event.framed(), "sha256")


def origin_digest(salt: bytes, ip: str | None, user_agent: str | None) -> str:
    """What an event says of its origin: enough to prove it while it stands, nothing once its salt is gone."""
    return hashlib.sha256(_FORM + frame(salt, ip, user_agent)).hexdigest()


def _moment(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="microseconds")
