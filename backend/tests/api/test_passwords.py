"""Which passwords are refused, how they are hashed, and that many hashes at once hold nothing else up."""

import asyncio
import threading

import pytest
from httpx2 import AsyncClient
from pwdlib.hashers.argon2 import Argon2Hasher

from app.core import security
from app.core.config import settings
from app.core.db import new_session
from app.core.errors import ValidationFailed
from app.crud import user as users
from app.services import passwords
from tests.factories import make_user
from tests.flows import PASSWORD, V1, Account, problem
from tests.waiting import eventually


async def refused(password: str, *own_words: str) -> bool:
    try:
        await passwords.hashed(password, own_words)
    except ValidationFailed:
        return True
    return False


async def test_each_of_the_three_thousand_commonest_passwords_is_refused() -> None:
    commonest = passwords.COMMONEST.read_text().splitlines()[:3000]
    assert len({word for word in commonest if len(word) >= settings.password_min_length}) == 3000
    let_through = [word for word in commonest for typed in (word, word.upper()) if not await refused(typed)]
    assert let_through == []


@pytest.mark.parametrize(
    "password",
    [
        "winterberg99",
        "Katharina.Winterberg",
        "katharina.winterberg@example.com",
        "greb.retniw",
        "K4th4r1n4W1nt3rb3rg",
        "neoforge1",
    ],
)
async def test_a_password_of_the_own_words_is_refused(password: str) -> None:
    assert await refused(password, "katharina.winterberg@example.com", "Katharina Winterberg")


@pytest.mark.parametrize("words", [("lantern@otter.example", "Plum Lantern"), ("a" * 300 + "@example.com", "x" * 200)])
async def test_a_good_password_is_taken_whoever_has_it(words: tuple[str, ...]) -> None:
    assert not await refused("quartz-heron-17-violet", *words)


async def test_the_hash_is_argon2id_with_the_parameters_that_are_promised() -> None:
    assert (await security.hash_password(PASSWORD)).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_an_older_hash_is_upgraded_at_sign_in(client: AsyncClient) -> None:
    older = Argon2Hasher(memory_cost=8192, time_cost=1, parallelism=1).hash(PASSWORD)
    async with new_session() as db:
        user = await make_user(db)
        user.hashed_password = older
        db.add(user)
        await db.commit()
    account = Account(client, user.email)
    assert (await account.login()).status_code == 200
    async with new_session(read_only=True) as db:
        stored = await users.get_by_email(db, user.email)
    assert stored is not None
    assert stored.hashed_password.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert (await account.login()).status_code == 200
    wrong = Account(client, user.email, password="wrong-plum-otter-77")
    assert problem(await wrong.login()) == (401, "invalid_credentials")


async def test_a_full_pool_of_hashes_holds_nothing_else_up(client: AsyncClient, account: Account) -> None:
    release = threading.Event()
    busy = [asyncio.ensure_future(security._threads.run(release.wait, 60)) for _ in range(settings.hash_threads)]
    try:
        waiting = [asyncio.ensure_future(account.login()) for _ in range(4)]
        await eventually(lambda: len(security._threads._waiting) >= len(waiting))
        assert (await client.get(f"{V1}/health")).status_code == 200
        assert (await account.me()).status_code == 200
        assert not any(one.done() for one in waiting)
    finally:
        release.set()
    assert await asyncio.gather(*busy) == [True] * settings.hash_threads
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}


async def test_no_more_threads_hash_or_guess_than_are_allowed(client: AsyncClient) -> None:
    await asyncio.gather(*(refused(f"quartz-heron-{number}-violet") for number in range(20)))
    await asyncio.gather(*(Account(client).login() for _ in range(6)))
    names = [thread.name for thread in threading.enumerate()]
    assert sum(name.startswith("argon2") for name in names) <= settings.hash_threads
