"""Walking the chain of seals: each is proved by the one before it, and judged by the one after it."""

import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.crud import chain as rows
from app.services import chain

_EVENT = "event_altered", "it, or the time or key of its seal, is not what was sealed"
_SEAL = "seal_altered", "its mac is not the one that was made"


@dataclass(frozen=True, slots=True)
class Fault:
    """What does not hold, and where."""

    kind: str
    sequence: int | None = None
    event_id: str | None = None
    detail: str = ""

    def __str__(self) -> str:
        where = [f"seal {self.sequence}"] if self.sequence is not None else []
        where += [f"event {self.event_id}"] if self.event_id else []
        return f"{self.kind}: {', '.join(where)}: {self.detail}"


class Walk:
    """Goes along the chain. A seal that does not fit is judged by its successor, which was made over the true one."""

    def __init__(self, keys: Sequence[chain.Key]) -> None:
        """`keys` are the present one, and after it those that were replaced."""
        self._present, self._keys = keys[0].id, {key.id: key for key in keys}
        self._key, self._left = "", set[str]()
        """The key of the seal before, and those that had been replaced then."""
        self.sequence = 0
        self.stored: bytes | None = chain.GENESIS
        """The mac of the seal before, as its row has it; None when it cannot be known."""
        self._computed: bytes | None = None
        """What that mac should have been, if its row does not have it."""
        self._doubtful: Fault | None = None
        self._alone = True
        """Whether the seal before the doubtful one fitted."""

    def step(self, link: rows.Link) -> Iterator[Fault]:
        if link.sequence < 1:
            yield Fault("seal_forged", link.sequence, None, "the first seal is 1")
            return
        if link.sequence > self.sequence + 1:
            yield from self._skip(link.sequence)
        before, doubtful, alone = (self.stored, self._computed), self._doubtful, self._alone
        self.sequence, self.stored, self._computed, self._doubtful = link.sequence, None, None, None
        event_id = told_id(link.seal["event_id"])
        try:
            mac, made = _read_mac(link.seal["mac"]), _Maker(link, self._keys)
        except (ValueError, TypeError, AttributeError):
            yield from _told(doubtful)
            self.stored = link.seal["mac"] if isinstance(link.seal["mac"], bytes) else None
            yield _unreadable(link, event_id, self._keys)
            return
        self.stored = mac
        if not self._follows(made.key.id):
            yield Fault("key_replaced", link.sequence, event_id, "it was made with a SECRET_KEY that had been replaced")
        fits = [previous is not None and hmac.compare_digest(made.mac(previous), mac) for previous in before]
        if any(fits):
            yield from _told(doubtful, *(_EVENT if fits[0] and alone else _SEAL if not fits[0] else ()))
            return
        yield from _told(doubtful)
        if before[0] is None:
            yield Fault("seal_unproven", link.sequence, event_id, "the seal before it is not there to prove it")
            return
        self._computed, self._alone = made.mac(before[0]), doubtful is None
        self._doubtful = Fault("event_or_seal_altered", link.sequence, event_id, "its mac is not of them")

    def end(self) -> Iterator[Fault]:
        yield from self._settle()
        if (
            self.sequence and len(self._keys) > 1 and self._key != self._present
        ):  # else who has an old secret could make a whole new tail
            yield Fault("key_replaced", self.sequence, None, "the newest seal was not made with the present SECRET_KEY")

    def _settle(self) -> Iterator[Fault]:
        yield from _told(self._doubtful)
        self._doubtful = None

    def _follows(self, key: str) -> bool:
        """Whether a seal of this key may stand here: one that was replaced does not come back."""
        if key != self._key:
            self._left.add(self._key)
            self._key = key
        return key not in self._left

    def _skip(self, to: int) -> Iterator[Fault]:
        yield from self._settle()
        first, last = self.sequence + 1, to - 1
        yield Fault("seal_missing", first, None, f"the seals {first} to {last} are not there")
        self.stored = self._computed = None


class _Maker:
    """Makes the mac that a seal should have. Raises ValueError, TypeError or AttributeError where that cannot be."""

    def __init__(self, link: rows.Link, keys: Mapping[str, chain.Key]) -> None:
        if link.event is None or link.seal["key_id"] not in keys:
            raise ValueError
        self.key, self._sequence = keys[link.seal["key_id"]], link.sequence
        self._event, self._sealed_at = _read_event(link.event), _moment(link.seal["created_at"])

    def mac(self, previous: bytes) -> bytes:
        return chain.mac(self.key, previous, sequence=self._sequence, sealed_at=self._sealed_at, event=self._event)


def _unreadable(link: rows.Link, event_id: str, keys: Mapping[str, chain.Key]) -> Fault:
    if link.event is None:
        return Fault("event_missing", link.sequence, event_id, "it was sealed and is not there")
    if link.seal["key_id"] not in keys:
        return Fault("key_unknown", link.sequence, event_id, "it was not made with a SECRET_KEY that was given")
    return Fault("event_or_seal_altered", link.sequence, event_id, "it cannot be read")


def _told(doubtful: Fault | None, kind: str = "", detail: str = "") -> Iterator[Fault]:
    """The fault that waited for the seal after it, which may say more of it."""
    if doubtful is not None:
        yield replace(doubtful, kind=kind, detail=detail) if kind else doubtful


# --- what a driver gives, as what it should be ----------------------------------------------------------------------


def _read_event(raw: Mapping[str, Any]) -> chain.Event:
    given = dict(raw)
    for name in ("action", "target_type", "target_id", "result", "request_id", "origin"):
        if given[name] is not None and not isinstance(given[name], str):
            raise TypeError
    given["id"], given["created_at"] = _uuid(given["id"]), _moment(given["created_at"])
    given["actor_id"] = None if given["actor_id"] is None else _uuid(given["actor_id"])
    return chain.Event(**given)


def _read_mac(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError
    return value


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(hex=value)


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value).replace(tzinfo=UTC)


def told_id(value: Any) -> str:
    """An id as it is told; one that is none is told as it stands, cut."""
    try:
        return str(_uuid(value))
    except (ValueError, TypeError, AttributeError):
        return repr(value)[:40]
