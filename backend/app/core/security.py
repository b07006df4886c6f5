"""Passwords and access tokens: Argon2id in a bounded pool of threads, and JWTs after RFC 9068 signed with Ed25519."""

import hashlib
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from app.core import signing_keys
from app.core.batches import Batches
from app.core.clock import utc_now
from app.core.config import settings
from app.core.errors import InvalidAccessToken, Overloaded
from app.core.secrets import start_secrets
from app.core.signing_keys import ALGORITHM, jwks
from app.core.sql import new_id

if TYPE_CHECKING:
    from joserfc.jwk import OKPKey

__all__ = [
    "AccessClaims",
    "UnknownKey",
    "hash_password",
    "in_a_thread",
    "issue_access_token",
    "jwks",
    "password_matches",
    "read_access_token",
    "start_secrets",
]

ACCESS_TOKEN_LIFE = timedelta(minutes=15)
MAX_TOKEN_LENGTH = 4096  # characters; ours have about 500
_TYPE = "at+jwt"  # RFC 9068
MAX_VERIFIED = 10_000  # tokens remembered as verified, about 3 MB

T = TypeVar("T")

# --- passwords ------------------------------------------------------------------------------------------------------

# OWASP's Password Storage Cheat Sheet, 2025: Argon2id with m=19456 KiB, t=2, p=1.
_hasher = PasswordHash((Argon2Hasher(memory_cost=19_456, time_cost=2, parallelism=1),))
_threads = Batches(settings.hash_threads, "argon2")
MOST_HASHES = 64 * settings.hash_threads  # that run or wait their turn; at 20 to 45 a second and thread, up to 3 s
_hashes = 0


def normal_password(password: str) -> str:
    """NFC, so that the same characters typed on another keyboard are the same password."""
    return unicodedata.normalize("NFC", password)


async def hash_password(password: str, *, unless: Callable[[], None] = lambda: None) -> str:
    """The Argon2id hash in PHC form, computed in a thread of the pool; before it, there, `unless` may raise.

    Raises:
        Overloaded: as many wait as may.
    """
    return await in_a_thread(_hash, normal_password(password), unless)


async def password_matches(password: str, hashed: str | None) -> tuple[bool, str | None]:
    """Whether `password` is right, and a newer hash of it when the stored one is outdated.

    Without a stored hash (no such account) the same work is done against a dummy, so that time tells nothing.

    Raises:
        Overloaded: as many wait as may.
    """
    return await in_a_thread(_verify, normal_password(password), hashed)


async def in_a_thread(work: Callable[..., T], *args: Any) -> T:
    """What `work` returns, from a thread that hashes. A hash takes 19 MiB while it runs, so few do, and few wait.

    Raises:
        Overloaded: as many wait as may.
    """
    global _hashes
    if _hashes >= MOST_HASHES:
        raise Overloaded
    _hashes += 1
    try:
        return await _threads.run(work, *args)
    finally:
        _hashes -= 1


def _hash(password: str, unless: Callable[[], None]) -> str:
    unless()
    return _hasher.hash(password)


def _verify(password: str, hashed: str | None) -> tuple[bool, str | None]:
    try:
        matches, newer = _hasher.verify_and_update(password, hashed or _dummy_hash())
    except UnknownHashError:
        return False, None
    return matches and hashed is not None, newer


@lru_cache(maxsize=1)
def _dummy_hash() -> str:
    return _hasher.hash("nobody has this password")


# --- access tokens --------------------------------------------------------------------------------------------------


class UnknownKey(InvalidAccessToken):
    """The token names a key that this process does not know. It may be one that signs since a moment elsewhere."""

    def __init__(self, kid: str) -> None:
        super().__init__()
        self.kid = kid


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a verified access token says. It says nothing about whether its session still lives."""

    user_id: UUID
    session_id: UUID
    expires_at: datetime
    kid: str
    """The key that signed it."""


def issue_access_token(user_id: UUID, session_id: UUID, *, until: datetime) -> tuple[str, int]:
    """A signed token and the seconds that it lives: 15 minutes, but not past its session's end."""
    now = utc_now()
    life = max(1, min(int(ACCESS_TOKEN_LIFE.total_seconds()), int((until - now).total_seconds())))
    issued = int(now.timestamp())
    claims = {
        "iss": settings.public_url,
        "aud": settings.public_url,
        "sub": str(user_id),
        "sid": str(session_id),
        "iat": issued,
        "exp": issued + life,
        "jti": str(new_id()),
    }
    return signing_keys.sign(claims, typ=_TYPE), life


def read_access_token(token: str, *, even_expired: bool = False) -> AccessClaims:
    """The claims of a token that we signed.

    Raises:
        InvalidAccessToken: malformed, of another type, issuer or audience, signed by another key, or expired.
        UnknownKey: this process has no key of that name.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        raise InvalidAccessToken
    digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
    known = _verified.get(digest)
    if known is None:
        known = _verify_token(token)
        if len(_verified) >= MAX_VERIFIED:
            _verified.pop(next(iter(_verified)))
        _verified[digest] = known
    _key_named(known.kid)
    if known.expires_at <= utc_now() and not even_expired:
        raise InvalidAccessToken("The access token has expired.")
    return known


_verified: dict[bytes, AccessClaims] = {}
"""Tokens whose signature was checked, by digest: a signature stays right; that the key still
verifies and that the token has not expired is looked at on each use."""


def _verify_token(token: str) -> AccessClaims:
    from joserfc.errors import JoseError  # the first token brings it in: nobody who only starts has to wait for it

    try:
        kid, said = signing_keys.read(token, typ=_TYPE) or _read_any(token)
        if said["iss"] != settings.public_url or said["aud"] != settings.public_url:
            raise InvalidAccessToken
        return AccessClaims(UUID(said["sub"]), UUID(said["sid"]), datetime.fromtimestamp(said["exp"], UTC), kid)
    except (JoseError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InvalidAccessToken from error


def _read_any(token: str) -> tuple[str, Any]:
    """The same of a token in whatever form. What a header says of other keys (jwk, jku, x5u) is never looked at."""
    from joserfc import jwt

    with _quietly():
        read = jwt.decode(token, lambda one: _key_named(str(one.headers().get("kid"))), algorithms=[ALGORITHM])
    if read.header.get("typ") != _TYPE or "crit" in read.header:
        raise InvalidAccessToken
    return str(read.header["kid"]), read.claims


def _key_named(kid: str) -> "OKPKey":
    try:
        return signing_keys.verifying(kid)
    except KeyError:
        raise UnknownKey(kid) from None


@contextmanager
def _quietly() -> Iterator[None]:
    """RFC 9864 renames EdDSA to Ed25519 and joserfc warns of the old name, which is what RFC 9068 clients know."""
    from joserfc.errors import SecurityWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        yield
