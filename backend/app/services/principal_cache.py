"""Who is behind an access token, kept in the process: the hot path asks nobody, and no answer is older than a second.

An entry goes with the feed of changes: with its account, its session, and any turn of the signing keys.
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from app.core.clock import utc_now
from app.core.metrics import PRINCIPALS_KEPT
from app.core.security import AccessClaims
from app.crud import change
from app.schemas.principal import Principal
from app.services import feed

MOST = 10_000  # tokens, about 2 kB each; the one that was used longest ago goes


@dataclass(frozen=True, slots=True)
class _Entry:
    principal: Principal
    expires_at: datetime
    """Of the token."""


_entries: OrderedDict[bytes, _Entry] = OrderedDict()
"""By the token's digest, the one used last at the end."""
_of: dict[str, set[bytes]] = {}
"""The digests of each account and of each session."""


def get(access_token: str) -> Principal | None:
    """The account and session behind a token that was verified before, as they were less than a second ago."""
    key = _key(access_token)
    entry = _entries.get(key)
    if entry is None or not feed.is_fresh() or entry.expires_at <= utc_now():
        return None
    _entries.move_to_end(key)
    return entry.principal


def keep(access_token: str, claims: AccessClaims, principal: Principal, *, read_at: int) -> None:
    """Keep what was just read, unless something was forgotten since `feed.moved()` said `read_at`."""
    if feed.moved() != read_at:
        return
    key = _key(access_token)
    _entries[key] = _Entry(principal, claims.expires_at)
    for subject in (principal.id, principal.session_id):
        _of.setdefault(str(subject), set()).add(key)
    while len(_entries) > MOST:
        _drop(next(iter(_entries)))
    PRINCIPALS_KEPT.set(len(_entries))


def _forget(subject: str | None) -> None:
    for key in tuple(_entries if subject is None else _of.get(subject, ())):
        _drop(key)
    PRINCIPALS_KEPT.set(len(_entries))


def _forget_all(_: str | None) -> None:
    _forget(None)


def _drop(key: bytes) -> None:
    principal = _entries.pop(key).principal
    for subject in (str(principal.id), str(principal.session_id)):
        keys = _of[subject]
        keys.discard(key)
        if not keys:
            del _of[subject]


def _key(access_token: str) -> bytes:
    return sha256(access_token.encode("utf-8", "surrogatepass")).digest()


feed.keeps(change.USER, _forget)
feed.keeps(change.SESSION, _forget)
feed.keeps(change.SIGNING, _forget_all)
