"""Passwords that are set anew: by a mailed link, or by who knows the old one."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from httpx2 import AsyncClient, Response

from app.models import MailPurpose
from app.services import tokens
from tests.collisions import collide
from tests.fixtures import Clock
from tests.flows import PASSWORD, V1, Account, new_email, problem
from tests.inbox import Inbox, link_token
from tests.links import mails_of, newest, token_of

NEW = "quartz-heron-17-violet"
Login = Callable[..., Awaitable[Account]]
RESET = MailPurpose.reset


async def forgot(client: AsyncClient, email: str) -> Response:
    answer = await client.post(f"{V1}/auth/password/forgot", json={"email": email})
    assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})
    return answer


async def reset(client: AsyncClient, token: str, password: str = NEW) -> Response:
    return await client.post(f"{V1}/auth/password/reset", json={"token": token, "new_password": password})


async def change(account: Account, current: str = PASSWORD, new: str = NEW) -> Response:
    body = {"current_password": current, "new_password": new}
    return await account.client.post(f"{V1}/users/me/password", json=body, headers=account.bearer)


# --- by mail --------------------------------------------------------------------------------------------------------


async def test_a_forgotten_password_is_set_anew_by_mail(
    client: AsyncClient, worker, smtp: Inbox, account: Account
) -> None:
    await smtp.wait_for(account.email)
    await client.post(
        f"{V1}/auth/password/forgot",
        json={"email": account.email.upper()},
        headers={"Host": "localhost:8000", "X-Forwarded-Host": "evil.example"},
    )
    mail = await smtp.wait_for(account.email, number=2)
    assert mail.subject == "Set a new password"
    assert "http://127.0.0.1:8000/account/reset?token=nfm_" in mail.text
    assert (await reset(client, link_token(mail))).status_code == 204
    told = await smtp.wait_for(account.email, number=3)
    assert told.subject == "Your password was reset"
    assert "127.0.0.1" in told.text
    account.password = NEW
    assert (await account.login()).status_code == 200
    assert (await account.me()).json()["is_verified"] is True


async def test_a_reset_ends_every_session_and_the_old_password(account: Account, login: Login) -> None:
    other = await login(account)
    await forgot(account.client, account.email)
    assert (await reset(account.client, await token_of(account.email, RESET))).status_code == 204
    for session in (account, other):
        assert problem(await session.me()) == (401, "session_revoked")
        assert problem(await session.refresh()) == (401, "session_revoked")
    assert problem(await account.login()) == (401, "invalid_credentials")


async def test_a_reset_verifies_the_address_and_voids_the_links_of_before(account: Account) -> None:
    verification = await token_of(account.email)
    await forgot(account.client, account.email)
    token = await token_of(account.email, RESET)
    assert (await reset(account.client, token)).status_code == 204
    assert problem(await reset(account.client, token)) == (400, "invalid_token")
    late = await account.client.post(f"{V1}/auth/verify-email", json={"token": verification})
    assert problem(late) == (400, "invalid_token")


async def test_of_eight_resets_at_once_one_sets_the_password(account: Account) -> None:
    await forgot(account.client, account.email)
    row = await newest(account.email, RESET)
    passwords = [f"{NEW}-{number}" for number in range(8)]
    answers = await collide(row, [reset(account.client, tokens.mail_token(row), one) for one in passwords])
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [204] + [400] * 7
    account.password = passwords[statuses.index(204)]
    assert (await account.login()).status_code == 200


async def test_a_sign_in_that_races_a_reset_leaves_nothing_alive(account: Account) -> None:
    await forgot(account.client, account.email)
    token = await token_of(account.email, RESET)
    racing = Account(account.client, account.email)
    _, answer = await asyncio.gather(reset(account.client, token), racing.login())
    assert answer.status_code == 401 or (await racing.me()).status_code == 401


async def test_the_newest_link_voids_the_older_ones(account: Account) -> None:
    await forgot(account.client, account.email)
    old = await token_of(account.email, RESET)
    await forgot(account.client, account.email)
    assert problem(await reset(account.client, old)) == (400, "invalid_token")
    assert (await reset(account.client, await token_of(account.email, RESET))).status_code == 204


@pytest.mark.parametrize(("minutes", "status"), [(29, 204), (31, 400)])
async def test_a_link_works_for_thirty_minutes(account: Account, clock: Clock, minutes: int, status: int) -> None:
    await forgot(account.client, account.email)
    token = await token_of(account.email, RESET)
    clock.advance(timedelta(minutes=minutes))
    assert (await reset(account.client, token)).status_code == status


async def test_tokens_of_one_purpose_do_nothing_for_another(account: Account) -> None:
    await forgot(account.client, account.email)
    for_reset, for_verify = await token_of(account.email, RESET), await token_of(account.email)
    for path in ("verify-email", "verify-email/undo"):
        answer = await account.client.post(f"{V1}/auth/{path}", json={"token": for_reset})
        assert problem(answer) == (400, "invalid_token")
    for token in (for_verify, account.pair["refresh_token"], account.pair["access_token"], "nfm_" + "A" * 64):
        assert problem(await reset(account.client, token)) == (400, "invalid_token")
    assert (await account.me()).status_code == 200


async def test_a_weak_password_leaves_the_link_as_it_was(account: Account) -> None:
    await forgot(account.client, account.email)
    token = await token_of(account.email, RESET)
    for weak in ("password1", account.email):
        answer = await reset(account.client, token, weak)
        assert problem(answer) == (422, "validation_failed")
        assert answer.json()["errors"][0]["pointer"] == "/new_password"
        assert answer.json()["errors"][0]["code"] == "password_too_weak"
    assert (await reset(account.client, token)).status_code == 204


async def test_the_mail_goes_to_the_stored_address_alone(worker, smtp: Inbox, account: Account) -> None:
    await smtp.wait_for(account.email)
    local, _, domain = account.email.partition("@")
    await forgot(account.client, f"{local.upper()}@{domain.replace('e', 'ｅ')}")
    mail = await smtp.wait_for(account.email, number=2)
    assert mail.to == (account.email,)
    nobody = new_email()
    await forgot(account.client, nobody)
    await forgot(account.client, account.email)
    await smtp.wait_for(account.email, number=3)
    assert smtp.received(nobody) == []


# --- by the old password --------------------------------------------------------------------------------------------


async def test_a_changed_password_ends_all_other_sessions(account: Account, login: Login) -> None:
    other = await login(account)
    assert (await change(account)).status_code == 204
    assert (await account.me()).status_code == 200
    assert (await account.refresh()).status_code == 200
    assert problem(await other.me()) == (401, "session_revoked")
    assert problem(await other.refresh()) == (401, "session_revoked")
    assert problem(await account.login()) == (401, "invalid_credentials")
    account.password = NEW
    assert (await account.login()).status_code == 200
    assert "password_changed" in await mails_of(account.email)


async def test_a_wrong_password_changes_nothing(account: Account, login: Login) -> None:
    other = await login(account)
    assert problem(await change(account, current="wrong")) == (403, "wrong_password")
    assert (await other.me()).status_code == 200
    assert (await account.login()).status_code == 200


async def test_a_weak_new_password_is_refused_with_its_reason(account: Account) -> None:
    answer = await change(account, new="password1")
    assert problem(answer) == (422, "validation_failed")
    assert answer.json()["errors"][0]["code"] == "password_too_weak"
    assert (await account.login()).status_code == 200


async def test_a_changed_password_voids_a_link_to_reset_it(account: Account) -> None:
    await forgot(account.client, account.email)
    token = await token_of(account.email, RESET)
    assert (await change(account)).status_code == 204
    assert problem(await reset(account.client, token)) == (400, "invalid_token")


async def test_of_two_changes_at_once_one_is_made(account: Account, login: Login) -> None:
    other = await login(account)
    answers = await asyncio.gather(change(account, new=NEW), change(other, new=f"{NEW}-2"))
    assert min(answer.status_code for answer in answers) == 204
    assert {answer.status_code for answer in answers} & {403, 401}
    account.password = NEW if answers[0].status_code == 204 else f"{NEW}-2"
    assert (await account.login()).status_code == 200
