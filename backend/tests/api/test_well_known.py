"""What stock clients look for: metadata that is true, revocation, and where people turn to."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from httpx2 import AsyncClient

from app.core.config import Settings, SettingsError, settings
from tests.fixtures import Clock, NewClient
from tests.flows import PASSWORD, V1, Account, problem
from tests.stack import Server

METADATA = "/.well-known/oauth-authorization-server"
REVOKE = f"{V1}/auth/revoke"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def test_a_client_finds_its_way_by_the_metadata_alone(account: Account, client: AsyncClient):
    answer = await client.get(METADATA)
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert told["issuer"] == settings.public_url
    assert told["grant_types_supported"] == ["password", "refresh_token"]
    assert told["response_types_supported"] == []
    assert told["token_endpoint_auth_methods_supported"] == ["none"]
    pair = (
        await client.post(
            told["token_endpoint"], data={"grant_type": "password", "username": account.email, "password": PASSWORD}
        )
    ).json()
    signed_in = Account(client, pair=pair)
    assert (await signed_in.me()).status_code == 200
    assert (await client.get(told["jwks_uri"])).json()["keys"]
    gone = await client.post(told["revocation_endpoint"], data={"token": pair["refresh_token"]})
    assert gone.status_code == 200
    assert (await signed_in.me()).status_code == 401
    assert (await client.get(told["service_documentation"])).status_code == 200


async def test_the_metadata_may_be_kept_and_asked_for_again(client: AsyncClient):
    answer = await client.get(METADATA)
    assert "max-age" in answer.headers["cache-control"]
    again = await client.get(METADATA, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
@pytest.mark.parametrize("hint", [None, "access_token", "refresh_token", "unheard_of"])
async def test_revoking_either_token_ends_its_session_and_no_other(
    account: Account, login, kind: str, hint: str | None
):
    other = await login(account)
    form = {"token": account.pair[kind], **({"token_type_hint": hint} if hint else {})}
    for _ in range(2):
        answer = await account.client.post(REVOKE, data=form)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["cache-control"] == "no-store"
    assert problem(await account.me()) == (401, "session_revoked")
    assert problem(await account.refresh()) == (401, "session_revoked")
    assert (await other.me()).status_code == 200


@pytest.mark.parametrize("token", ["x", "nfr_x", "nfm_x", "ü", "a.b.c", "x" * 5000])
async def test_a_token_that_is_not_ours_is_no_fault(client: AsyncClient, account: Account, token: str):
    answer = await client.post(REVOKE, data={"token": token})
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await account.me()).status_code == 200


async def test_an_altered_or_expired_token_ends_nothing(account: Account, clock: Clock):
    refresh_token, access_token = account.pair["refresh_token"], account.pair["access_token"]
    for token in (refresh_token[:-4] + "AAAA", access_token[:-4] + "AAAA"):
        assert (await account.client.post(REVOKE, data={"token": token})).status_code == 200
    clock.advance(timedelta(minutes=16))
    assert (await account.client.post(REVOKE, data={"token": access_token})).status_code == 200
    assert (await account.refresh()).status_code == 200


@pytest.mark.parametrize("body", [b"", b"token=", b"token_type_hint=x", b"token=a&token=b", b"token=%ff", b"token=%00"])
async def test_a_form_without_a_token_is_an_invalid_request(client: AsyncClient, body: bytes):
    answer = await client.post(REVOKE, content=body, headers=FORM)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_revocation_takes_forms_alone(client: AsyncClient):
    assert problem(await client.post(REVOKE, json={"token": "x"})) == (415, "unsupported_media_type")
    encoded = {**FORM, "Content-Encoding": "gzip"}
    for path in (REVOKE, f"{V1}/auth/token"):
        assert problem(await client.post(path, content=b"token=x", headers=encoded)) == (415, "unsupported_media_type")


async def test_password_managers_are_led_to_a_page_of_the_public_url(client: AsyncClient):
    answer = await client.get("/.well-known/change-password", headers={"Host": "localhost"})
    assert answer.status_code == 302
    assert answer.headers["location"] == f"{settings.public_url}/account/forgot"
    assert (await client.get(answer.headers["location"])).status_code == 200
    missing = await client.get("/.well-known/resource-that-should-not-exist-whose-status-code-should-not-be-200")
    assert missing.status_code == 404


async def test_without_a_contact_there_is_no_security_txt(client: AsyncClient):
    assert problem(await client.get("/.well-known/security.txt")) == (404, "not_found")


async def test_security_txt_says_whom_to_tell_and_until_when(
    server: Callable[..., Awaitable[Server]], new_client: NewClient
):
    client = new_client((await server(SECURITY_CONTACT="mailto:security@example.com")).url)
    answer = await client.get("/.well-known/security.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    fields = dict(line.split(": ", 1) for line in answer.text.splitlines())
    assert fields["Contact"] == "mailto:security@example.com"
    assert fields["Canonical"] == f"{settings.public_url}/.well-known/security.txt"
    left = datetime.fromisoformat(fields["Expires"]) - datetime.now(UTC)
    assert timedelta(days=90) < left < timedelta(days=365)


@pytest.mark.parametrize("contact", ["security@example.com", "http://x.example", "mailto:a@b.example\nExpires: never"])
def test_a_contact_is_one_address(monkeypatch: pytest.MonkeyPatch, contact: str):
    monkeypatch.setenv("SECURITY_CONTACT", contact)
    with pytest.raises(SettingsError, match="SECURITY_CONTACT"):
        Settings.load()
