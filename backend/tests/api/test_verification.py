from datetime import timedelta

import pytest
from httpx2 import AsyncClient

from app.services import tokens
from tests.collisions import collide
from tests.flows import V1, problem, signed_in
from tests.links import newest, token_of


async def verify(client: AsyncClient, token: str):
    return await client.post(f"{V1}/auth/verify-email", json={"token": token})


async def test_the_mailed_token_verifies_the_address_once(client: AsyncClient) -> None:
    account = await signed_in(client)
    token = await token_of(account.email)
    assert (await verify(client, token)).status_code == 204
    assert (await account.me()).json()["is_verified"] is True
    assert problem(await verify(client, token)) == (400, "invalid_token")


async def test_of_eight_at_once_one_verifies(client: AsyncClient) -> None:
    account = await signed_in(client)
    row = await newest(account.email)
    answers = await collide(row, [verify(client, tokens.mail_token(row)) for _ in range(8)])
    assert sorted(answer.status_code for answer in answers) == [204] + [400] * 7


async def test_a_get_never_consumes_a_token(client: AsyncClient) -> None:
    account = await signed_in(client)
    token = await token_of(account.email)
    page = await client.get("/account/verify", params={"token": token})
    assert page.status_code == 200
    assert token not in page.text
    assert (await verify(client, token)).status_code == 204


@pytest.mark.parametrize("token", ["x", "nfm_", "nfm_" + "A" * 64, "nfr_" + "A" * 64, "ü"])
async def test_a_token_that_is_not_ours_is_refused(client: AsyncClient, token: str) -> None:
    assert problem(await verify(client, token)) == (400, "invalid_token")


async def test_a_token_works_for_a_day(client: AsyncClient, clock) -> None:
    account = await signed_in(client)
    token = await token_of(account.email)
    clock.advance(timedelta(hours=24, seconds=1))
    assert problem(await verify(client, token)) == (400, "invalid_token")


async def test_a_refresh_token_does_not_verify(client: AsyncClient) -> None:
    account = await signed_in(client)
    assert problem(await verify(client, account.pair["refresh_token"])) == (400, "invalid_token")
