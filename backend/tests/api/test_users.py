import pytest
from httpx2 import AsyncClient

from tests.flows import V1, Account, problem, signed_in


@pytest.mark.parametrize("version", ["/api/v1", "/api/v2"])
async def test_me_answers_the_account(client: AsyncClient, version: str) -> None:
    account = await signed_in(client)
    answer = await client.get(f"{version}/users/me", headers=account.bearer)
    assert answer.status_code == 200
    assert answer.json()["email"] == account.email
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("version", ["/api/v1", "/api/v2"])
async def test_me_needs_a_token(client: AsyncClient, version: str) -> None:
    answer = await client.get(f"{version}/users/me")
    assert problem(answer) == (401, "not_authenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("token", ["x", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "x" * 65_000, "nfr_x"])
async def test_a_token_that_is_not_ours_is_refused(client: AsyncClient, token: str) -> None:
    answer = await client.get(f"{V1}/users/me", headers={"Authorization": f"Bearer {token}"})
    assert problem(answer) == (401, "invalid_access_token")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_a_profile_can_be_changed(client: AsyncClient) -> None:
    account = await signed_in(client)
    before = (await account.me()).json()
    answer = await client.put(f"{V1}/users/me", json={"full_name": "Grace Hopper"}, headers=account.bearer)
    assert answer.status_code == 200
    after = (await account.me()).json()
    assert answer.json() == after
    assert after["full_name"] == "Grace Hopper"
    assert after["updated_at"] > before["updated_at"]
    assert after["created_at"] == before["created_at"]


async def test_a_name_can_be_taken_back(client: AsyncClient) -> None:
    account = await signed_in(client)
    answer = await client.put(f"{V1}/users/me", json={"full_name": None}, headers=account.bearer)
    assert (answer.status_code, answer.json()["full_name"]) == (200, None)


@pytest.mark.parametrize("field", ["email", "is_verified", "is_active", "roles", "id", "hashed_password", "created_at"])
async def test_what_is_not_the_users_to_set_is_an_unknown_field(client: AsyncClient, field: str) -> None:
    account = await signed_in(client)
    answer = await client.put(f"{V1}/users/me", json={"full_name": "A", field: True}, headers=account.bearer)
    assert problem(answer) == (422, "validation_failed")
    assert answer.json()["errors"][0]["pointer"] == f"/{field}"
    assert (await account.me()).json()["full_name"] is None


async def test_a_deleted_account_is_gone_and_its_tokens_are_dead(client: AsyncClient) -> None:
    account = await signed_in(client)
    answer = await client.delete(f"{V1}/users/me", headers=account.bearer)
    assert (answer.status_code, answer.content) == (204, b"")
    assert problem(await account.me()) == (401, "invalid_access_token")
    assert problem(await account.refresh()) == (401, "invalid_refresh_token")
    assert problem(await account.login()) == (401, "invalid_credentials")
    again = Account(client, email=account.email)
    assert (await again.register()).status_code == 201
