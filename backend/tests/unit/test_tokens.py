"""What a client may present as a token, and what then is refused."""

import base64
import json
from datetime import timedelta
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from app.core import security, signing_keys
from app.core.clock import utc_now
from app.core.config import settings
from app.core.errors import InvalidAccessToken
from app.core.secrets import derive_key, key_id
from app.models.mail_token import MailToken
from app.models.user_session import UserSession
from app.services import tokens


def issue() -> str:
    return security.issue_access_token(uuid4(), uuid4(), until=utc_now() + timedelta(days=1))[0]


def parts(token: str) -> tuple[dict, dict]:
    header, claims, _ = (
        json.loads(base64.urlsafe_b64decode(part + "==")) if n < 2 else part for n, part in enumerate(token.split("."))
    )
    return header, claims


def signed(header: dict | None = None, claims: dict | None = None, key: OKPKey | None = None) -> str:
    """A token like ours but for what is given, signed by the key that signs unless another is given."""
    ours = signing_keys.signing()[1]
    old_header, old_claims = parts(issue())
    with security._quietly():
        return jwt.encode(
            {**old_header, **(header or {})}, {**old_claims, **(claims or {})}, key or ours, algorithms=["EdDSA"]
        )


def test_an_access_token_is_as_rfc_9068_has_it() -> None:
    header, claims = parts(issue())
    assert (header["typ"], header["alg"]) == ("at+jwt", "EdDSA")
    assert header["kid"] in {key["kid"] for key in security.jwks()["keys"]}
    assert set(claims) == {"iss", "aud", "sub", "sid", "iat", "exp", "jti"}
    assert claims["exp"] - claims["iat"] == 900
    assert claims["iss"] == settings.public_url


def test_an_access_token_does_not_outlive_its_session() -> None:
    _, life = security.issue_access_token(uuid4(), uuid4(), until=utc_now() + timedelta(seconds=100))
    assert 98 <= life <= 100


def test_the_key_set_has_two_public_keys_and_no_private_part() -> None:
    keys = security.jwks()["keys"]
    assert len(keys) == 2
    assert all("d" not in key and key["kty"] == "OKP" for key in keys)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://other.example"},
        {"iss": "https://other.example"},
        {"sub": "nobody"},
        {"sid": None},
        {"exp": "never"},
        {"exp": 1},
        {"exp": 10**30},
        {"aud": ["a", "b"]},
    ],
)
def test_wrong_claims_are_refused(claims: dict) -> None:
    with pytest.raises(InvalidAccessToken):
        security.read_access_token(signed(claims=claims))


@pytest.mark.parametrize("header", [{"typ": "JWT"}, {"typ": "refresh"}, {"kid": "other"}, {"kid": "../../etc/passwd"}])
def test_wrong_headers_are_refused(header: dict) -> None:
    with pytest.raises(InvalidAccessToken):
        security.read_access_token(signed(header=header))


def test_another_key_under_our_name_is_refused() -> None:
    with pytest.raises(InvalidAccessToken):
        security.read_access_token(signed(key=OKPKey.generate_key("Ed25519")))


def test_a_token_in_another_form_is_read_alike() -> None:
    """Another library may have put it together: only what looks just as ours do has a short way."""
    plain = issue()
    header, claims = parts(plain)
    with security._quietly():
        other = jwt.encode(dict(reversed(header.items())), claims, signing_keys.signing()[1], algorithms=["EdDSA"])
    assert other.split(".")[0] != plain.split(".")[0]
    assert signing_keys.read(plain, typ="at+jwt")
    assert signing_keys.read(other, typ="at+jwt") is None
    assert security.read_access_token(other) == security.read_access_token(plain)


def test_a_signature_has_one_spelling_on_the_short_way() -> None:
    token = issue()
    for other in (token[:-1] + ("B" if token[-1] == "A" else "A"), token + "=", token[:-2] + "!" + token[-2:]):
        try:
            assert signing_keys.read(other, typ="at+jwt") is None
        except ValueError:
            continue


def test_no_algorithm_and_a_swapped_one_are_refused() -> None:
    header, claims = parts(issue())
    none = (
        ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in ({**header, "alg": "none"}, claims)
        )
        + "."
    )
    public = json.dumps(security.jwks()["keys"][0]).encode()
    swapped = jwt.encode({**header, "alg": "HS256"}, claims, OctKey.import_key(public), algorithms=["HS256"])
    for token in (none, swapped):
        with pytest.raises(InvalidAccessToken):
            security.read_access_token(token)


def test_a_refresh_token_is_its_generations_alone() -> None:
    session = UserSession(
        id=uuid4(), user_id=uuid4(), session_token="", key_id=key_id(), salt=tokens.new_salt(), expires_at=utc_now()
    )
    first, second = tokens.refresh_token(session, 1), tokens.refresh_token(session, 2)
    assert first != second
    parsed = tokens.parse_refresh_token(first)
    assert parsed is not None
    assert (parsed.session_id, parsed.generation, parsed.is_of(session)) == (session.id, 1, True)
    session.salt = tokens.new_salt()
    assert not parsed.is_of(session)


def test_a_refresh_token_has_one_spelling() -> None:
    session = UserSession(
        id=uuid4(), user_id=uuid4(), session_token="", key_id=key_id(), salt=tokens.new_salt(), expires_at=utc_now()
    )
    token = tokens.refresh_token(session, 1)
    for other in (token + "=", token[:-1], token.upper(), f" {token}", token.replace("nfr_", "nfm_"), token + "A"):
        parsed = tokens.parse_refresh_token(other)
        assert parsed is None or not parsed.is_of(session)


def test_a_mail_token_is_its_rows_alone() -> None:
    row = MailToken(
        id=uuid4(),
        user_id=uuid4(),
        purpose="verify",
        email="a@example.com",
        key_id=key_id(),
        salt=tokens.new_salt(),
        expires_at=utc_now(),
    )
    parsed = tokens.parse_mail_token(tokens.mail_token(row))
    assert parsed is not None
    assert parsed[0] == row.id
    assert tokens.mail_mac_matches(row, parsed[1])
    for field, value in (
        ("purpose", "reset"),
        ("email", "b@example.com"),
        ("user_id", uuid4()),
        ("salt", b"x" * 16),
        ("key_id", "other"),
    ):
        changed = MailToken(**{**row.model_dump(), field: value})
        assert not tokens.mail_mac_matches(changed, parsed[1])


def test_keys_of_two_purposes_have_nothing_in_common() -> None:
    assert derive_key("refresh") != derive_key("mail")
    assert len(derive_key("refresh")) == 32
