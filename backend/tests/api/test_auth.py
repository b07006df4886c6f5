import asyncio
import re
import unicodedata
from datetime import timedelta

import pytest
from httpx2 import AsyncClient
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from app.core import security
from tests.flows import PASSWORD, V1, Account, new_email, problem, signed_in

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


async def test_register_answers_the_user_and_no_secret(client: AsyncClient) -> None:
    email = new_email()
    answer = await client.post(
        f"{V1}/auth/register", json={"email": email.upper(), "password": PASSWORD, "full_name": "Ada Lovelace"}
    )
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert set(body) == {"id", "email", "full_name", "is_active", "is_verified", "roles", "created_at", "updated_at"}
    assert (body["email"], body["full_name"]) == (email, "Ada Lovelace")
    assert (body["is_active"], body["is_verified"], body["roles"]) == (True, False, [])
    assert TIMESTAMP.fullmatch(body["created_at"])
    assert body["id"][14] == "7"


async def test_login(client: AsyncClient) -> None:
    account = Account(client)
    await account.register()
    answer = await account.login()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    pair = answer.json()
    assert set(pair) == {"access_token", "token_type", "expires_in", "refresh_token", "refresh_expires_in"}
    assert (pair["token_type"], pair["expires_in"]) == ("bearer", 900)
    assert pair["refresh_token"].startswith("nfr_")
    assert 0 < pair["refresh_expires_in"] <= 14 * 86400


@pytest.mark.parametrize("written", [str.upper, str.title, lambda email: email.replace("@", "＠")])
async def test_an_address_is_one_account_however_it_is_written(client: AsyncClient, written) -> None:
    account = await signed_in(client)
    other = Account(client, email=written(account.email))
    assert problem(await other.register()) == (409, "email_taken")
    assert (await other.login()).status_code == 200


async def test_a_wrong_password_and_an_unknown_email_get_the_same_answer(client: AsyncClient) -> None:
    account = await signed_in(client)
    wrong = await Account(client, email=account.email, password="another-plum-otter-77").login()
    unknown = await Account(client).login()
    assert problem(wrong) == problem(unknown) == (401, "invalid_credentials")
    assert {**wrong.json(), "request_id": ""} == {**unknown.json(), "request_id": ""}
    assert wrong.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("password", ["password1", "12345678", "neoforge2026", "aaaaaaaaaaaaaaaa"])
async def test_a_guessable_password_is_refused_with_the_reason(client: AsyncClient, password: str) -> None:
    answer = await Account(client, password=password).register()
    assert problem(answer) == (422, "validation_failed")
    (fault,) = answer.json()["errors"]
    assert (fault["pointer"], fault["code"]) == ("/password", "password_too_weak")
    assert fault["detail"]
    assert password not in answer.text


async def test_a_password_made_of_the_own_email_is_refused(client: AsyncClient) -> None:
    account = Account(client, email="katharina.winterberg@example.com", password="katharina.winterberg")
    assert problem(await account.register()) == (422, "validation_failed")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "Name <a@example.com>"),
        ("email", "a@b@example.com"),
        ("email", ""),
        ("email", "a" * 320 + "@example.com"),
        ("email", 7),
        ("password", "short-7"),
        ("password", "x" * 129),
        ("password", None),
        ("full_name", ""),
        ("full_name", "x" * 201),
        ("full_name", "a\u202eb"),
        ("full_name", "a\nb"),
        ("is_verified", True),
        ("roles", ["admin"]),
    ],
)
async def test_what_breaks_a_bound_is_named_by_a_pointer(client: AsyncClient, field: str, value: object) -> None:
    answer = await client.post(f"{V1}/auth/register", json={"email": new_email(), "password": PASSWORD, field: value})
    assert problem(answer) == (422, "validation_failed")
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [f"/{field}"]


async def test_refresh_spends_the_token(client: AsyncClient, clock) -> None:
    account = await signed_in(client)
    first = account.pair["refresh_token"]
    second = await account.refresh()
    assert second.status_code == 200
    assert second.json()["refresh_token"] != first
    clock.advance(timedelta(seconds=11))
    assert problem(await account.refresh(first)) == (401, "refresh_token_reused")


async def test_the_token_before_the_current_one_answers_with_the_same_successor_for_ten_seconds(
    client: AsyncClient, clock
) -> None:
    account = await signed_in(client)
    successor = (await account.refresh()).json()["refresh_token"]
    clock.advance(timedelta(seconds=9))
    again = await account.refresh()
    assert again.status_code == 200
    assert again.json()["refresh_token"] == successor


async def test_a_replayed_refresh_token_ends_the_session(client: AsyncClient) -> None:
    account = await signed_in(client)
    first = account.pair["refresh_token"]
    second = (await account.refresh()).json()["refresh_token"]
    third = (await account.refresh(second)).json()["refresh_token"]
    assert problem(await account.refresh(first)) == (401, "refresh_token_reused")
    assert problem(await account.refresh(third)) == (401, "session_revoked")
    assert (await account.me()).status_code == 401


@pytest.mark.parametrize(("days", "works"), [(13, True), (15, False)])
async def test_a_session_ends_after_fourteen_idle_days(client: AsyncClient, clock, days: int, works: bool) -> None:
    account = await signed_in(client)
    clock.advance(timedelta(days=days))
    answer = await account.refresh()
    assert answer.status_code == 200 if works else problem(answer) == (401, "invalid_refresh_token")


async def test_a_session_ends_sixty_days_after_sign_in_at_the_latest(client: AsyncClient, clock) -> None:
    account = await signed_in(client)
    for _ in range(4):
        clock.advance(timedelta(days=13))
        account.pair = (await account.refresh()).json()
    assert account.pair["refresh_expires_in"] <= 8 * 86400
    clock.advance(timedelta(days=9))
    assert problem(await account.refresh()) == (401, "invalid_refresh_token")


@pytest.mark.parametrize(
    "spoil", [lambda t: t[:-4] + "AAAA", lambda _: "nfr_", lambda t: t[4:], lambda t: t + "=", lambda _: "ü"]
)
async def test_a_refresh_token_that_is_not_ours_ends_nothing(client: AsyncClient, spoil) -> None:
    account = await signed_in(client)
    assert problem(await account.refresh(spoil(account.pair["refresh_token"]))) == (401, "invalid_refresh_token")
    assert (await account.refresh()).status_code == 200


async def test_logout_kills_both_tokens(client: AsyncClient) -> None:
    account = await signed_in(client)
    assert (await account.logout()).status_code == 204
    refused = await account.me()
    assert problem(refused) == (401, "session_revoked")
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert problem(await account.refresh()) == (401, "session_revoked")
    assert (await account.logout()).status_code == 204


async def test_logout_by_refresh_token_alone_and_with_an_expired_bearer(client: AsyncClient, clock) -> None:
    alone, expired = await signed_in(client), await signed_in(client)
    body = {"refresh_token": alone.pair["refresh_token"]}
    assert (await client.post(f"{V1}/auth/logout", json=body)).status_code == 204
    assert (await alone.me()).status_code == 401
    clock.advance(timedelta(minutes=16))
    assert problem(await expired.logout()) == (401, "invalid_access_token")
    body = {"refresh_token": expired.pair["refresh_token"]}
    assert (await client.post(f"{V1}/auth/logout", json=body, headers=expired.bearer)).status_code == 204
    assert problem(await expired.refresh()) == (401, "session_revoked")


async def test_logout_with_tokens_of_two_sessions_ends_neither(client: AsyncClient) -> None:
    one, two = await signed_in(client), await signed_in(client)
    body = {"refresh_token": two.pair["refresh_token"]}
    assert problem(await client.post(f"{V1}/auth/logout", json=body, headers=one.bearer)) == (422, "validation_failed")
    assert (await one.me()).status_code == (await two.me()).status_code == 200


async def test_logout_needs_a_token(client: AsyncClient) -> None:
    assert problem(await client.post(f"{V1}/auth/logout")) == (401, "not_authenticated")


async def test_an_access_token_lives_fifteen_minutes(client: AsyncClient, clock) -> None:
    account = await signed_in(client)
    clock.advance(timedelta(minutes=14, seconds=58))
    assert (await account.me()).status_code == 200
    clock.advance(timedelta(seconds=3))
    assert problem(await account.me()) == (401, "invalid_access_token")


async def test_reauthenticating_makes_the_session_fresh_again(client: AsyncClient, clock) -> None:
    account = await signed_in(client)
    clock.advance(timedelta(minutes=16))
    account.pair = (await account.refresh()).json()
    assert problem(await client.delete(f"{V1}/users/me", headers=account.bearer)) == (403, "reauthentication_required")
    wrong = await client.post(f"{V1}/auth/reauthenticate", json={"password": "wrong"}, headers=account.bearer)
    assert problem(wrong) == (403, "wrong_password")
    right = await client.post(f"{V1}/auth/reauthenticate", json={"password": PASSWORD}, headers=account.bearer)
    assert right.status_code == 204
    assert (await client.delete(f"{V1}/users/me", headers=account.bearer)).status_code == 204


async def test_fifty_refreshes_of_one_token_at_once_have_one_successor(client: AsyncClient) -> None:
    account = await signed_in(client)
    answers = await asyncio.gather(*(account.refresh() for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


async def test_an_unknown_email_costs_the_same_one_hash(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    account = await signed_in(client)
    verified: list[str] = []

    class Counting(Argon2Hasher):
        def verify(self, password, stored):
            verified.append(stored)
            return super().verify(password, stored)

    hasher = Counting(memory_cost=19_456, time_cost=2, parallelism=1)
    monkeypatch.setattr(security, "_hasher", PasswordHash((hasher,)))
    wrong = await Account(client, email=account.email, password="another-plum-otter-77").login()
    unknown = await Account(client).login()
    assert (wrong.status_code, unknown.status_code) == (401, 401)
    assert len(verified) == 2
    assert len({stored.rsplit("$", 2)[0] for stored in verified}) == 1, "other parameters take another time"


async def test_a_password_is_counted_as_it_is_hashed(client: AsyncClient) -> None:
    """120 characters, which some keyboards send as 140: one is the other, at registration and at sign-in."""
    composed = "plum-otter-42-" + "q7zK" * 21 + "ệ" * 20 + "xy"
    assert (len(composed), len(unicodedata.normalize("NFD", composed))) == (120, 160)
    account = Account(client, password=composed)
    assert (await account.register()).status_code == 201
    account.password = unicodedata.normalize("NFD", composed)
    assert (await account.login()).status_code == 200
    short = Account(client, password="e\u0301" * 7)
    assert problem(await short.register()) == (422, "validation_failed")
