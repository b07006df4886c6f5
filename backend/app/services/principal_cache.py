"""Who is behind an access token, kept in the process: the hot path asks nobody, and no answer is older than a second.

An entry goes with the feed of changes: with its account, its session, and any turn of the signing keys.
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from app.core import signing_keys
from app.core.clock import utc_now
from app.core.metrics import PRINCIPALS_KEPT
from app.core.security import AccessClaims
from app.crud import change
from app.schemas.principal import Principal
from app.services import feed

MOST = 10_000  # tokens, about 2 kB each; the one that was used longest ago goes


@dataclass(slots=True)
class Known:
    """What is known of a token."""

    principal: Principal
    expires_at: datetime
    """Of the token, or of the key that signed it."""
    profile: bytes | None = None
    """What the account's profile answers, once that has been asked for."""


_entries: OrderedDict[bytes, Known] = OrderedDict()
"""By the token's digest, the one used last at the end."""
_of: dict[UUID, tuple[bytes, ...]] = {}
"""The digests of each account and of each session: one mostly, and few at most."""


def find(access_token: bytes) -> Known | None:
    """What is kept of a token that was verified before, as it was less than a second ago."""
    key = sha256(access_token).digest()
    known = _entries.get(key)
    if known is None or not feed.is_fresh() or known.expires_at <= utc_now():
        return None
    _entries.move_to_end(key)
    return known


def keep(access_token: bytes, claims: AccessClaims, principal: Principal, *, read_at: int) -> Known:
    """What was just read; it is kept, unless something was forgotten since `feed.moved()` said `read_at`."""
    key_ends = signing_keys.verifies_until(claims.kid)  # when the ring turns, all this is forgotten
    known = Known(principal, min(claims.expires_at, key_ends or claims.expires_at))
    if feed.moved() != read_at:
        return known
    key = sha256(access_token).digest()
    _entries[key] = known
    for subject in (principal.id, principal.session_id):
        others = _of.get(subject, ())
        if key not in others:
            _of[subject] = (*others, key)
    while len(_entries) > MOST:
        _drop(next(iter(_entries)))
    PRINCIPALS_KEPT.set(len(_entries))
    return known


def _forget(subject: str | None) -> None:
    for key in tuple(_entries if subject is None else _of.get(UUID(subject), ())):
        _drop(key)
    PRINCIPALS_KEPT.set(len(_entries))


def _forget_all(_: str | None) -> None:
    _forget(None)


def _drop(key: bytes) -> None:
    principal = _entries.pop(key).principal
    for subject in (principal.id, principal.session_id):
        others = tuple(one for one in _of[subject] if one != key)
        if others:
            _of[subject] = others
        else:
            del _of[subject]


feed.keeps(change.USER, _forget)
feed.keeps(change.SESSION, _forget)
feed.keeps(change.SIGNING, _forget_all)
