"""What owners are told by mail of their account, when and in which language."""

from collections.abc import Awaitable, Callable

import pytest
from httpx2 import AsyncClient
from sqlmodel import col, select

from app.core.db import new_session
from app.crud import user as users
from app.models import BackgroundTask
from tests.carrying import carry_out
from tests.fixtures import NewClient
from tests.flows import PASSWORD, V1, Account, problem
from tests.inbox import Inbox
from tests.links import mails_of

Login = Callable[..., Awaitable[Account]]


async def test_registering_sends_one_mail_and_the_first_sign_in_none(account: Account) -> None:
    assert await mails_of(account.email) == ["verify_email"]


async def test_a_new_device_is_told_and_a_known_one_is_not(
    account: Account, login: Login, new_client: NewClient
) -> None:
    await login(account)
    elsewhere = new_client(client_address="203.0.113.9", headers={"User-Agent": "Other/2.0"})
    await login(account, elsewhere)
    await login(account, elsewhere)
    assert await mails_of(account.email) == ["verify_email", "new_device"]


async def test_a_stolen_refresh_token_is_told_once_although_the_answer_is_an_error(account: Account) -> None:
    first = account.pair["refresh_token"]
    second = (await account.refresh()).json()["refresh_token"]
    await account.refresh(second)
    assert problem(await account.refresh(first)) == (401, "refresh_token_reused")
    assert problem(await account.refresh(first)) == (401, "session_revoked")
    assert (await mails_of(account.email)).count("session_replayed") == 1


async def test_a_notice_says_when_and_from_where_in_the_owners_language(
    new_client: NewClient, smtp: Inbox, inbox: Inbox
) -> None:
    client = new_client(client_address="198.51.100.7", headers={"Accept-Language": "de-CH,de;q=0.9"})
    account = Account(client)
    await account.register()
    await account.login()
    body = {"current_password": PASSWORD, "new_password": "quartz-heron-17-violet"}
    changed = await client.post(f"{V1}/users/me/password", json=body, headers=account.bearer)
    assert changed.status_code == 204
    async with new_session(read_only=True) as db:
        user = await users.get_by_email(db, account.email)
        assert user is not None
        assert user.locale == "de"
        statement = select(BackgroundTask).where(BackgroundTask.user_id == user.id).order_by(col(BackgroundTask.id))
        rows = (await db.exec(statement)).all()
    for row in rows:
        await carry_out(row.id)
    mails = [await smtp.wait_for(account.email, number=number) for number in (1, 2)]
    by_subject = {mail.subject: mail for mail in mails}
    assert set(by_subject) == {"Bestätigen Sie Ihre E-Mail-Adresse", "Ihr Passwort wurde geändert"}
    notice = by_subject["Ihr Passwort wurde geändert"]
    assert "198.51.100.7" in notice.text
    assert "UTC" in notice.text
    assert {mail.message_id.strip("<>").partition("@")[0] for mail in mails} == {str(row.id) for row in rows}


@pytest.mark.parametrize("accepted", ["xx", "../en", "fr-FR"])
async def test_a_language_that_nobody_wrote_is_the_default(client: AsyncClient, accepted: str) -> None:
    account = Account(client)
    body = {"email": account.email, "password": PASSWORD}
    answer = await client.post(f"{V1}/auth/register", json=body, headers={"Accept-Language": accepted})
    assert answer.status_code == 201
    async with new_session(read_only=True) as db:
        user = await users.get_by_email(db, account.email)
    assert user is not None
    assert user.locale == "en"
