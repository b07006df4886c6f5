"""The keys that sign access tokens: Ed25519, derived from the root secret by number, one after the other.

One number signs. The next one is published before it signs, and verifies, since another process may sign with it
already. One that has signed goes on verifying until the last of its tokens has expired, and is published as long.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.core.clock import utc_now
from app.core.secrets import derive_key

if TYPE_CHECKING:
    from joserfc.jwk import OKPKey

ALGORITHM = "EdDSA"
AHEAD = 8  # numbers after the next one that are recognised as ours although this process has not heard of them


@lru_cache(maxsize=64)
def key_of(number: int) -> "tuple[str, OKPKey]":
    """The key of this number, under its `kid`: its thumbprint (RFC 7638)."""
    from joserfc.jwk import OKPKey  # with what it brings 20 ms, which no process has to wait for that only starts

    private = Ed25519PrivateKey.from_private_bytes(derive_key(f"access-token/{number}"))
    key = OKPKey.import_key(private, {"use": "sig", "alg": ALGORITHM})
    return key.thumbprint(), key


@dataclass(frozen=True, slots=True)
class Ring:
    """Which numbers are in use."""

    number: int = 1
    """The one that signs."""
    retired: Mapping[int, datetime] = field(default_factory=dict)
    """Those that have signed, and until when each verifies."""

    def verifying(self) -> list[int]:
        """The numbers that verify now: the one that signs, the next, then those that are not forgotten yet."""
        now = utc_now()
        return [self.number, self.number + 1, *(number for number, until in self.retired.items() if now < until)]


_ring = Ring()


def use(ring: Ring) -> None:
    """Go by `ring` from now on in this process."""
    global _ring
    _ring = ring


def signing() -> "tuple[str, OKPKey]":
    """The `kid` and key that sign."""
    return key_of(_ring.number)


def sign(claims: dict[str, Any], *, typ: str) -> str:
    """A JWT (RFC 7519) of these claims by the key that signs.

    What joserfc does to make one takes more than twice the time of the signature.
    """
    kid, key = signing()
    signed = _header(kid, typ) + b"." + _base64url(_compact(claims).encode())
    return (signed + b"." + _base64url(key.private_key.sign(signed))).decode()  # type: ignore[union-attr]  # it is private


def read(token: str, *, typ: str) -> tuple[str, Any] | None:
    """The `kid` and claims of a token that is in form just what `sign` makes; None of any other: joserfc reads those.

    The header is no input here: it is compared with ours, byte for byte.

    Raises:
        ValueError: it only looks so.
    """
    signed, _, signature = token.encode().rpartition(b".")
    header, _, payload = signed.partition(b".")
    for kid, key in map(key_of, _ring.verifying()):
        if header == _header(kid, typ):
            given, said = (base64.urlsafe_b64decode(part + b"==") for part in (signature, payload))
            if (_base64url(given), _base64url(said)) != (signature, payload):
                return None
            try:
                key.public_key.verify(given, signed)  # type: ignore[union-attr]  # it is one of Ed25519
            except InvalidSignature:
                raise ValueError("the signature is not ours") from None
            return kid, json.loads(said)
    return None


_compact = json.JSONEncoder(separators=(",", ":")).encode


@lru_cache(maxsize=64)
def _header(kid: str, typ: str) -> bytes:
    return _base64url(_compact({"typ": typ, "alg": ALGORITHM, "kid": kid}).encode())


def _base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def verifying(kid: str) -> "OKPKey":
    """Our own key of that name.

    Raises:
        KeyError: we have none, or none any more.
    """
    for number in _ring.verifying():
        name, key = key_of(number)
        if name == kid:
            return key
    raise KeyError(kid)


def verifies_until(kid: str) -> datetime | None:
    """When our key of that name, which has signed, ends; None while it may sign."""
    return next((until for number, until in _ring.retired.items() if key_of(number)[0] == kid), None)


def is_to_come(kid: str) -> bool:
    """Whether the name is of a number after those that this process knows of: the ring has turned elsewhere."""
    following = range(_ring.number + 2, _ring.number + 2 + AHEAD)
    return any(key_of(number)[0] == kid for number in following)


def jwks() -> dict[str, Any]:
    """The public halves of all that verify, as a JSON Web Key Set (RFC 7517)."""
    keys = [key_of(number) for number in _ring.verifying()]
    return {"keys": [{**key.as_dict(private=False), "kid": kid} for kid, key in keys]}
