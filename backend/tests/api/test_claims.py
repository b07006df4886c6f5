"""Where sign-in needs a verified address, nobody gets an account by registering somebody else's address first."""

from datetime import timedelta

import pytest
from httpx2 import AsyncClient, Response

from app.core.config import settings
from app.core.db import new_session
from app.crud import user as users
from app.models import MailPurpose, User
from app.services import tokens
from tests.collisions import collide
from tests.factories import ago, make_session, make_user
from tests.flows import V1, Account, problem
from tests.links import mails_of, newest, promised, token_of
from tests.sweeping import sweep

CLAIM = MailPurpose.claim
OTHER = "another-plum-otter-77"


@pytest.fixture(autouse=True)
def _verified_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.__dict__, "require_verified_email", True)


async def verify(client: AsyncClient, token: str) -> Response:
    return await client.post(f"{V1}/auth/verify-email", json={"token": token})


async def row_of(email: str) -> User:
    async with new_session(read_only=True) as db:
        user = await users.get_by_email(db, email)
    assert user is not None
    return user


async def test_a_second_registration_changes_nothing_by_itself(client: AsyncClient) -> None:
    first = Account(client)
    await first.register()
    before = await row_of(first.email)
    body = {"email": first.email, "password": OTHER, "full_name": "Somebody Else"}
    await client.post(f"{V1}/auth/register", json=body)
    after = await row_of(first.email)
    assert after.model_dump() == before.model_dump()
    assert await mails_of(first.email) == ["verify_email", "claim_email"]


async def test_its_own_link_sets_its_password_and_name(client: AsyncClient) -> None:
    first = Account(client)
    await first.register()
    body = {"email": first.email, "password": OTHER, "full_name": "The Owner"}
    await client.post(f"{V1}/auth/register", json=body)
    original = await token_of(first.email)
    assert (await verify(client, await token_of(first.email, CLAIM))).status_code == 204
    owner = Account(client, first.email, OTHER)
    assert (await owner.login()).status_code == 200
    assert (await owner.me()).json()["full_name"] == "The Owner"
    assert problem(await first.login()) == (401, "invalid_credentials")
    assert problem(await verify(client, original)) == (400, "invalid_token")


async def test_claims_stand_beside_each_other_and_the_first_to_come_back_counts(client: AsyncClient) -> None:
    first = Account(client)
    await first.register()
    for number in range(3):
        await Account(client, first.email, f"{OTHER}-{number}").register()
    links = [tokens.mail_token(row) for row in await promised(first.email, CLAIM)]
    assert len(links) == 3
    assert (await verify(client, links[1])).status_code == 204
    assert (await Account(client, first.email, f"{OTHER}-1").login()).status_code == 200
    for void in (links[0], links[2]):
        assert problem(await verify(client, void)) == (400, "invalid_token")


async def test_of_several_links_at_once_one_counts(client: AsyncClient) -> None:
    first = Account(client)
    await first.register()
    for number in range(3):
        await Account(client, first.email, f"{OTHER}-{number}").register()
    links = [tokens.mail_token(row) for row in await promised(first.email, CLAIM)]
    links.append(await token_of(first.email))
    answers = await collide(await row_of(first.email), [verify(client, link) for link in links])
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [204] + [400] * 3
    passwords = [f"{OTHER}-{number}" for number in range(3)] + [first.password]
    winner = passwords[statuses.index(204)]
    for password in passwords:
        answer = await Account(client, first.email, password).login()
        assert answer.status_code == (200 if password == winner else 401)


async def test_a_verified_account_is_never_changed_by_a_claim(client: AsyncClient) -> None:
    first = Account(client)
    await first.register()
    await Account(client, first.email, OTHER).register()
    claim = await token_of(first.email, CLAIM)
    async with new_session() as db:  # as an administrator does it, who leaves the links as they are
        user = await users.get_by_email(db, first.email)
        assert user is not None
        await users.update(db, db_obj=user, obj_in={"is_verified": True})
        await db.commit()
    assert problem(await verify(client, claim)) == (400, "invalid_token")
    assert (await first.login()).status_code == 200
    await Account(client, first.email, OTHER).register()
    assert (await mails_of(first.email))[-1] == "email_taken"
    assert len(await promised(first.email, CLAIM)) == 1, "a verified address is claimed by nobody"


@pytest.mark.parametrize("purpose", [MailPurpose.verify, CLAIM])
async def test_proving_the_address_ends_every_session_of_before(client: AsyncClient, purpose: MailPurpose) -> None:
    settings.__dict__["require_verified_email"] = False
    hijacker = Account(client)
    await hijacker.register()
    await hijacker.login()
    settings.__dict__["require_verified_email"] = True
    await Account(client, hijacker.email, OTHER).register()
    assert (await hijacker.me()).status_code == 200
    assert (await verify(client, await token_of(hijacker.email, purpose))).status_code == 204
    assert problem(await hijacker.me()) == (401, "session_revoked")
    assert problem(await hijacker.refresh()) == (401, "session_revoked")


async def test_a_claim_works_once_and_for_a_day(client: AsyncClient, clock) -> None:
    first = Account(client)
    await first.register()
    await Account(client, first.email, OTHER).register()
    token = tokens.mail_token(await newest(first.email, CLAIM))
    clock.advance(timedelta(hours=25))
    assert problem(await verify(client, token)) == (400, "invalid_token")


async def test_accounts_that_nobody_ever_proved_go_after_a_week() -> None:
    async with new_session() as db:
        old = await make_user(db, is_verified=False, created_at=ago(days=7, minutes=1))
        young = await make_user(db, is_verified=False, created_at=ago(days=6, hours=23))
        proven = await make_user(db, created_at=ago(days=400))
        in_use = await make_user(db, is_verified=False, created_at=ago(days=400))
        await make_session(db, in_use)
    async with new_session() as db:
        await sweep(db)
        await db.commit()
        left = [user.id for user in (old, young, proven, in_use) if await users.get(db, user.id)]
    assert left == [young.id, proven.id, in_use.id]


async def test_where_nobody_needs_a_verified_address_none_goes() -> None:
    settings.__dict__["require_verified_email"] = False
    async with new_session() as db:
        old = await make_user(db, is_verified=False, created_at=ago(days=400))
    async with new_session() as db:
        await sweep(db)
        await db.commit()
        assert await users.get(db, old.id)
