"""Access tokens that somebody else made, presented at the front door: none lets in, and none makes us ask elsewhere."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from httpx2 import AsyncClient

from app.core import security
from app.core.secrets import derive_key
from tests.flows import V1, Account, problem

pytestmark = [pytest.mark.any_database, pytest.mark.any_server]

Forge = Callable[[dict[str, Any], dict[str, Any]], str]


def encode(part: bytes | dict[str, Any]) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
    return header, claims


def signed(key: Ed25519PrivateKey, header: dict[str, Any], claims: dict[str, Any] | bytes) -> str:
    signing = f"{encode(header)}.{encode(claims)}"
    return f"{signing}.{encode(key.sign(signing.encode()))}"


def ours(header: dict[str, Any], claims: dict[str, Any] | bytes) -> str:
    """Signed by the key that signs."""
    return signed(Ed25519PrivateKey.from_private_bytes(derive_key("access-token/1")), header, claims)


def theirs(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Signed by a key that is not ours, whatever the header says of it."""
    return signed(Ed25519PrivateKey.generate(), header, claims)


def by_secret(header: dict[str, Any], claims: dict[str, Any], secret: bytes, algorithm: str = "HS256") -> str:
    """Signed by HMAC, whose key is what everybody knows: the public key."""
    signing = f"{encode({**header, 'alg': algorithm})}.{encode(claims)}"
    return f"{signing}.{encode(hmac.digest(secret, signing.encode(), hashlib.sha256))}"


def public_forms() -> Iterator[bytes]:
    key = security.jwks()["keys"][0]
    raw = base64.urlsafe_b64decode(key["x"] + "==")
    yield from (raw, key["x"].encode(), json.dumps(key).encode(), json.dumps(security.jwks()).encode())


FORGERIES: dict[str, Forge] = {
    "no algorithm": lambda h, c: f"{encode({**h, 'alg': 'none'})}.{encode(c)}.",
    "no algorithm, in other letters": lambda h, c: f"{encode({**h, 'alg': 'nOnE'})}.{encode(c)}.",
    "no algorithm, with our signature": lambda h, c: (
        f"{encode({**h, 'alg': 'none'})}.{encode(c)}." + ours(h, c).rsplit(".", 1)[1]
    ),
    "no signature": lambda h, c: ours(h, c).rsplit(".", 1)[0] + ".",
    "another key under our id": theirs,
    "an id that climbs folders": lambda h, c: theirs({**h, "kid": "../../../../dev/null"}, c),
    "an id that is SQL": lambda h, c: theirs({**h, "kid": "x' UNION SELECT 'key'--"}, c),
    "an id that is a list": lambda h, c: ours({**h, "kid": [h["kid"]]}, c),
    "no id": lambda h, c: theirs({k: v for k, v in h.items() if k != "kid"}, c),
    "crit": lambda h, c: ours({**h, "crit": ["exp"]}, c),
    "crit of its own": lambda h, c: ours({**h, "crit": ["x"], "x": 1}, c),
    "type JWT": lambda h, c: ours({**h, "typ": "JWT"}, c),
    "type of a refresh token": lambda h, c: ours({**h, "typ": "rt+jwt"}, c),
    "no type": lambda h, c: ours({k: v for k, v in h.items() if k != "typ"}, c),
    "another audience": lambda h, c: ours(h, {**c, "aud": "https://other.example"}),
    "our audience among others": lambda h, c: ours(h, {**c, "aud": [c["aud"], "https://other.example"]}),
    "no audience": lambda h, c: ours(h, {k: v for k, v in c.items() if k != "aud"}),
    "another issuer": lambda h, c: ours(h, {**c, "iss": "https://other.example"}),
    "no issuer": lambda h, c: ours(h, {k: v for k, v in c.items() if k != "iss"}),
    "expired": lambda h, c: ours(h, {**c, "exp": c["iat"] - 1}),
    "no end": lambda h, c: ours(h, {k: v for k, v in c.items() if k != "exp"}),
    "an end that is no number": lambda h, c: ours(h, {**c, "exp": "9999999999"}),
    "an end past all time": lambda h, c: ours(h, {**c, "exp": 10**40}),
    "another user": lambda h, c: ours(h, {**c, "sub": c["sid"]}),
    "a session that never was": lambda h, c: ours(h, {**c, "sid": c["sub"]}),
    "a session that is SQL": lambda h, c: ours(h, {**c, "sid": "' OR 1=1 --"}),
    "claims that are a list": lambda h, _c: ours(h, b"[]"),
    "claims that are no JSON": lambda h, _c: ours(h, b"{"),
    "claims of somebody else under our signature": lambda h, c: (
        f"{encode(h)}.{encode({**c, 'sub': c['sid']})}." + ours(h, c).rsplit(".", 1)[1]
    ),
    "64 KB of claims": lambda h, c: ours(h, {**c, "x": "x" * 65_536}),
    "64 KB of nothing": lambda _h, _c: "A" * 65_536,
    "64 KB of dots": lambda _h, _c: "." * 65_536,
    "an encrypted one": lambda h, c: ".".join([encode({"alg": "dir", "enc": "A256GCM"}), "", *["AAAA"] * 3]),
}


async def test_what_these_forgeries_begin_with_is_let_in(account: Account, client: AsyncClient) -> None:
    token = ours(*decode(account.pair["access_token"]))
    answer = await client.get(f"{V1}/users/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("kind", FORGERIES)
async def test_a_forged_token_is_refused(account: Account, client: AsyncClient, kind: str) -> None:
    token = FORGERIES[kind](*decode(account.pair["access_token"]))
    answer = await client.get(f"{V1}/users/me", headers={"Authorization": f"Bearer {token}"})
    if answer.status_code != 431:  # a server may refuse the head of the request before us
        assert problem(answer) == (401, "invalid_access_token")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert (await account.me()).status_code == 200


async def test_the_public_key_is_no_secret_to_sign_with(account: Account, client: AsyncClient) -> None:
    header, claims = decode(account.pair["access_token"])
    for form in public_forms():
        for algorithm in ("HS256", "HS512", "EdDSA"):
            token = by_secret(header, claims, form, algorithm)
            answer = await client.get(f"{V1}/users/me", headers={"Authorization": f"Bearer {token}"})
            assert problem(answer) == (401, "invalid_access_token")


@pytest.mark.parametrize("name", ["jku", "x5u"])
async def test_a_token_that_names_a_key_elsewhere_makes_us_ask_nobody(
    account: Account, client: AsyncClient, name: str
) -> None:
    seen: list[str] = []

    async def meet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(str(writer.get_extra_info("peername")))
        writer.close()

    elsewhere = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with elsewhere:
        url = f"http://127.0.0.1:{elsewhere.sockets[0].getsockname()[1]}/jwks.json"
        header, claims = decode(account.pair["access_token"])
        for kid in (header["kid"], "theirs"):
            token = theirs({**header, "kid": kid, name: url}, claims)
            answer = await client.get(f"{V1}/users/me", headers={"Authorization": f"Bearer {token}"})
            assert problem(answer) == (401, "invalid_access_token")
        reader, writer = await asyncio.open_connection(*elsewhere.sockets[0].getsockname())
        assert await reader.read() == b""  # whoever had come before would have been seen before this one
        writer.close()
    assert len(seen) == 1


async def test_a_key_inside_the_token_is_not_looked_at(account: Account, client: AsyncClient) -> None:
    header, claims = decode(account.pair["access_token"])
    key = Ed25519PrivateKey.generate()
    public = encode(key.public_key().public_bytes_raw())
    inside = {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": public, "kid": header["kid"]}}
    answer = await client.get(
        f"{V1}/users/me", headers={"Authorization": f"Bearer {signed(key, {**header, **inside}, claims)}"}
    )
    assert problem(answer) == (401, "invalid_access_token")


async def test_tokens_of_one_purpose_work_for_no_other(account: Account, client: AsyncClient) -> None:
    access, refresh = account.pair["access_token"], account.pair["refresh_token"]
    as_access = await client.get(f"{V1}/users/me", headers={"Authorization": f"Bearer {refresh}"})
    assert problem(as_access) == (401, "invalid_access_token")
    assert problem(await account.refresh(access)) == (401, "invalid_refresh_token")
    for token in (access, refresh):
        answer = await client.post(f"{V1}/auth/verify-email", json={"token": token})
        assert answer.status_code in (400, 422)  # 422 where it is longer than any token of ours
        assert (await account.me()).json()["is_verified"] is False


async def test_refused_tokens_take_no_room(account: Account, client: AsyncClient) -> None:
    """What is remembered as verified is what we signed, and no more than its bound."""
    before = len(security._verified)
    header, claims = decode(account.pair["access_token"])
    for _ in range(50):
        await client.get(f"{V1}/users/me", headers={"Authorization": f"Bearer {theirs(header, claims)}"})
    assert len(security._verified) == before <= security.MAX_VERIFIED
