"""Moving an account to another address: it proves itself, the old one is told and can undo it for three days."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from httpx2 import AsyncClient, Response

from app.core import security
from app.core.db import new_session
from app.models import MailPurpose
from app.services import tokens
from tests.collisions import collide, deleted_meanwhile
from tests.counting import counted
from tests.factories import make_user
from tests.fixtures import Clock
from tests.flows import PASSWORD, V1, Account, new_email, problem
from tests.inbox import Inbox, link_token
from tests.links import mails_of, newest, promised, token_of

Login = Callable[..., Awaitable[Account]]
CHANGE, UNDO, RESET = MailPurpose.change, MailPurpose.undo, MailPurpose.reset


async def ask(account: Account, new: str, password: str = PASSWORD) -> Response:
    body = {"new_email": new, "current_password": password}
    return await account.client.post(f"{V1}/users/me/email", json=body, headers=account.bearer)


async def verify(client: AsyncClient, token: str) -> Response:
    return await client.post(f"{V1}/auth/verify-email", json={"token": token})


async def undo(client: AsyncClient, token: str) -> Response:
    return await client.post(f"{V1}/auth/verify-email/undo", json={"token": token})


async def set_new_password(account: Account, new: str = "quartz-heron-17-violet") -> None:
    """By the link that was mailed to the account, and sign in with it."""
    body = {"token": await token_of(account.email, RESET), "new_password": new}
    assert (await account.client.post(f"{V1}/auth/password/reset", json=body)).status_code == 204
    account.password = new
    assert (await account.login()).status_code == 200


async def moved(account: Account, new: str) -> str:
    """Move the account; the token that undoes it."""
    old = account.email
    assert (await ask(account, new)).status_code == 202
    back = await token_of(old, UNDO)
    assert (await verify(account.client, await token_of(old, CHANGE))).status_code == 204
    account.email = new
    return back


async def test_the_whole_way_there_and_back_by_mail(worker, smtp: Inbox, account: Account) -> None:
    old, new = account.email, new_email()
    await smtp.wait_for(old)
    asked = await ask(account, new)
    assert (asked.status_code, asked.json()) == (202, {"status": "accepted"})
    link, told = await smtp.wait_for(new), await smtp.wait_for(old, number=2)
    assert (link.subject, told.subject) == ("Confirm your new email address", "Your email address is to be changed")
    assert "/account/verify?token=" in link.text
    assert "/account/undo?token=" in told.text
    assert new not in told.text, "an address that was typed is not mailed around"
    assert (await account.me()).json()["email"] == old

    assert (await verify(account.client, link_token(link))).status_code == 204
    assert (await account.me()).json()["email"] == new
    assert (await account.me()).json()["is_verified"] is True
    told = await smtp.wait_for(old, number=3)
    assert told.subject == "Your email address was changed"

    assert (await undo(account.client, link_token(told))).status_code == 204
    assert problem(await account.me()) == (401, "session_revoked")
    reset = await smtp.wait_for(old, number=4)
    assert reset.subject == "Set a new password"
    body = {"token": link_token(reset), "new_password": "quartz-heron-17-violet"}
    assert (await account.client.post(f"{V1}/auth/password/reset", json=body)).status_code == 204
    account.password = "quartz-heron-17-violet"
    assert (await account.login()).status_code == 200
    assert (await account.me()).json()["email"] == old


async def test_a_taken_address_is_answered_alike_and_its_owner_is_told(account: Account, client: AsyncClient) -> None:
    async with new_session() as db:
        owner = await make_user(db)
    free, taken = await ask(account, new_email()), await ask(account, owner.email.upper())
    assert (taken.status_code, taken.content) == (free.status_code, free.content)
    assert await promised(account.email, CHANGE) == []
    assert await mails_of(owner.email) == ["email_taken"]


async def test_the_owner_of_the_address_may_go_at_this_moment(account: Account) -> None:
    async with new_session() as db:
        owner = await make_user(db)
    answer = await deleted_meanwhile(owner.email, ask(account, owner.email))
    assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})


async def test_a_wrong_password_asks_for_nothing(account: Account) -> None:
    assert problem(await ask(account, new_email(), password="wrong")) == (403, "wrong_password")
    assert await promised(account.email, CHANGE) == []


async def test_an_address_that_is_taken_meanwhile_stays_its_owners(account: Account) -> None:
    new = new_email()
    await ask(account, new)
    token = await token_of(account.email, CHANGE)
    async with new_session() as db:
        await make_user(db, email=new)
    assert problem(await verify(account.client, token)) == (400, "invalid_token")
    assert (await account.me()).json()["email"] == account.email


async def test_of_eight_at_once_one_moves_the_account(account: Account) -> None:
    await ask(account, new_email())
    row = await newest(account.email, CHANGE)
    answers = await collide(row, [verify(account.client, tokens.mail_token(row)) for _ in range(8)])
    assert sorted(answer.status_code for answer in answers) == [204] + [400] * 7


async def test_the_newest_link_to_a_new_address_voids_the_older_one(account: Account) -> None:
    await ask(account, new_email())
    old = await token_of(account.email, CHANGE)
    await ask(account, new_email())
    assert problem(await verify(account.client, old)) == (400, "invalid_token")
    assert (await verify(account.client, await token_of(account.email, CHANGE))).status_code == 204


async def test_a_new_password_voids_a_change_that_was_asked_for(account: Account) -> None:
    await ask(account, new_email())
    token = await token_of(account.email, CHANGE)
    body = {"current_password": PASSWORD, "new_password": "quartz-heron-17-violet"}
    await account.client.post(f"{V1}/users/me/password", json=body, headers=account.bearer)
    assert problem(await verify(account.client, token)) == (400, "invalid_token")


# --- undoing it -----------------------------------------------------------------------------------------------------


async def test_undoing_before_the_change_keeps_the_address(account: Account, login: Login) -> None:
    await ask(account, new_email())
    change = await token_of(account.email, CHANGE)
    assert (await undo(account.client, await token_of(account.email, UNDO))).status_code == 204
    assert problem(await verify(account.client, change)) == (400, "invalid_token")
    assert problem(await account.me()) == (401, "session_revoked")
    assert len(await promised(account.email, RESET)) == 1


@pytest.mark.parametrize(("hours", "status"), [(71, 204), (73, 400)])
async def test_the_way_back_is_open_for_three_days(account: Account, clock: Clock, hours: int, status: int) -> None:
    back = await moved(account, new_email())
    clock.advance(timedelta(hours=hours))
    assert (await undo(account.client, back)).status_code == status


@pytest.mark.parametrize("is_done", [True, False], ids=["a change", "a change that is only asked for"])
async def test_undoing_ends_the_password_that_asked_for_it(account: Account, is_done: bool) -> None:
    old = account.email
    if is_done:
        back = await moved(account, new_email())
    else:
        await ask(account, new_email())
        back = await token_of(old, UNDO)
    assert (await undo(account.client, back)).status_code == 204
    account.email = old
    assert problem(await account.login()) == (401, "invalid_credentials")
    await set_new_password(account)
    assert (await account.me()).json()["email"] == old


async def test_a_sign_in_that_an_undoing_refuses_costs_what_one_of_nobody_does(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(account, new_email())
    assert (await undo(account.client, await token_of(account.email, UNDO))).status_code == 204
    security._dummy_hash()
    costs = []
    for email in (account.email, new_email()):
        with counted(monkeypatch) as work:
            assert problem(await Account(account.client, email).login()) == (401, "invalid_credentials")
        costs.append((work.hashes, work.statements))
    assert costs[0] == costs[1]
    assert len(costs[0][0]) == 1


async def test_a_second_change_does_not_make_the_first_one_final(account: Account) -> None:
    first = account.email
    back_to_first = await moved(account, new_email())
    second = account.email
    back_to_second = await moved(account, new_email())
    assert (await undo(account.client, back_to_second)).status_code == 204
    account.email = second
    await set_new_password(account)
    assert (await account.me()).json()["email"] == second
    assert (await undo(account.client, back_to_first)).status_code == 204
    account.email = first
    await set_new_password(account, "copper-heron-73-saddle")
    assert (await account.me()).json()["email"] == first


async def test_going_back_voids_the_ways_back_to_later_addresses(account: Account) -> None:
    back_to_first = await moved(account, new_email())
    back_to_second = await moved(account, new_email())
    assert (await undo(account.client, back_to_first)).status_code == 204
    assert problem(await undo(account.client, back_to_second)) == (400, "invalid_token")
    assert problem(await undo(account.client, back_to_first)) == (400, "invalid_token")


async def test_a_squatter_at_the_old_address_does_not_keep_its_owner_out(account: Account, client: AsyncClient) -> None:
    old = account.email
    back = await moved(account, new_email())
    squatter = Account(client, email=old, password="another-plum-otter-77")
    await squatter.register()
    await squatter.login()
    assert (await undo(client, back)).status_code == 204
    assert (await squatter.me()).status_code == 401
    account.email = old
    await set_new_password(account)
    assert (await account.me()).json()["email"] == old


async def test_who_has_proven_the_old_address_since_keeps_it(account: Account, client: AsyncClient) -> None:
    old = account.email
    back = await moved(account, new_email())
    async with new_session() as db:
        await make_user(db, email=old)
    assert problem(await undo(client, back)) == (400, "invalid_token")
    assert (await account.me()).status_code == 200


async def test_links_of_other_purposes_undo_nothing(account: Account) -> None:
    await ask(account, new_email())
    for token in (await token_of(account.email), await token_of(account.email, CHANGE), account.pair["refresh_token"]):
        assert problem(await undo(account.client, token)) == (400, "invalid_token")
    answer = await verify(account.client, await token_of(account.email, UNDO))
    assert problem(answer) == (400, "invalid_token")
