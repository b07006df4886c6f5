"""A password is what was typed: every character of it counts, for as long as its owner keeps it."""

import unicodedata
from datetime import timedelta

import pytest
from httpx2 import AsyncClient

from tests.fixtures import Clock
from tests.flows import V1, Account, problem

LONG = "Plum otter 42 " + "lantern, Velvet! " * 6 + "tundra 9 Q "
"""127 characters, a space the last."""


async def sign_in(account: Account, password: str) -> int:
    answer = await account.client.post(f"{V1}/auth/login", json={"email": account.email, "password": password})
    return answer.status_code


async def test_every_character_of_a_password_counts(client: AsyncClient) -> None:
    account = Account(client, password=LONG)
    assert len(LONG) == 127
    assert (await account.register()).status_code == 201
    assert await sign_in(account, LONG) == 200
    for other in (LONG[:-1], LONG + " ", LONG.swapcase(), LONG[:72], LONG[:-2] + "q ", LONG.strip(), " " + LONG):
        assert await sign_in(account, other) == 401, other


@pytest.mark.parametrize(
    "password",
    ["лимонный-тигр-над-рекой", "🦦🏮 forty two 🌌 tundra", "correct horse battery staple", "73091846250917384615"],
)
async def test_any_characters_make_a_password(client: AsyncClient, password: str) -> None:
    account = Account(client, password=password)
    answer = await account.register()
    assert answer.status_code == 201, answer.text
    assert await sign_in(account, password) == 200


async def test_the_same_characters_from_another_keyboard_are_the_same_password(client: AsyncClient) -> None:
    account = Account(client, password="fjällräven-über-42-kayak")
    assert (await account.register()).status_code == 201
    decomposed = unicodedata.normalize("NFD", account.password)
    assert decomposed != account.password
    assert await sign_in(account, decomposed) == 200
    assert await sign_in(account, "fjallraven-uber-42-kayak") == 401


async def test_a_password_does_not_age(account: Account, clock: Clock) -> None:
    clock.advance(timedelta(days=3650))
    assert problem(await account.me())[0] == 401
    assert await sign_in(account, account.password) == 200
