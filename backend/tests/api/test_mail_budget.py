"""No address gets more than five mails an hour that a stranger can cause, over all routes together."""

import asyncio
from datetime import timedelta

import pytest
from httpx2 import AsyncClient

from app.core.config import settings
from app.core.db import new_session
from app.models import MailBudget
from tests.fixtures import Clock
from tests.flows import PASSWORD, V1, Account, new_email
from tests.links import mails_of
from tests.sweeping import sweep


async def forgot(client: AsyncClient, email: str) -> None:
    assert (await client.post(f"{V1}/auth/password/forgot", json={"email": email})).status_code == 202


async def resend(client: AsyncClient, email: str) -> None:
    assert (await client.post(f"{V1}/auth/verify-email/resend", json={"email": email})).status_code == 202


async def ask_for(account: Account, new_address: str) -> None:
    body = {"new_email": new_address, "current_password": PASSWORD}
    answer = await account.client.post(f"{V1}/users/me/email", json=body, headers=account.bearer)
    assert answer.status_code == 202


async def test_all_routes_share_five_mails_an_hour(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch, account: Account
) -> None:
    monkeypatch.setitem(settings.__dict__, "require_verified_email", True)
    owner = Account(client)
    await owner.register()
    await owner.register()
    await forgot(client, owner.email)
    await resend(client, owner.email)
    await ask_for(account, owner.email)
    counted = ["verify_email", "claim_email", "reset_email", "verify_email", "email_taken"]
    assert await mails_of(owner.email) == counted
    await owner.register()
    await forgot(client, owner.email)
    await resend(client, owner.email)
    await ask_for(account, owner.email)
    assert await mails_of(owner.email) == counted


async def test_the_hour_slides(account: Account, clock: Clock) -> None:
    for _ in range(2):
        await forgot(account.client, account.email)  # with the verification: three at once
    clock.advance(timedelta(minutes=40))
    for _ in range(4):
        await forgot(account.client, account.email)
    assert (await mails_of(account.email)).count("reset_email") == 4
    clock.advance(timedelta(minutes=21))  # the first three are an hour old
    for _ in range(5):
        await forgot(account.client, account.email)
    assert (await mails_of(account.email)).count("reset_email") == 7


async def test_of_twelve_that_meet_at_one_address_five_get_through(client: AsyncClient, account: Account) -> None:
    await asyncio.gather(*(forgot(client, account.email) for _ in range(12)))
    assert (await mails_of(account.email)).count("reset_email") == 4  # and the verification


async def test_a_spent_budget_keeps_no_warning_back(account: Account) -> None:
    for _ in range(6):
        await forgot(account.client, account.email)
    await ask_for(account, new_email())
    body = {"current_password": PASSWORD, "new_password": "quartz-heron-17-violet"}
    changed = await account.client.post(f"{V1}/users/me/password", json=body, headers=account.bearer)
    assert changed.status_code == 204
    mails = await mails_of(account.email)
    assert "undo_email" in mails
    assert "password_changed" in mails


async def test_the_table_knows_no_address_and_forgets_after_the_hour(
    client: AsyncClient, account: Account, clock: Clock
) -> None:
    from sqlmodel import select

    async with new_session(read_only=True) as db:
        names = (await db.exec(select(MailBudget.address))).all()
    assert names
    assert all(len(name) == 64 and "@" not in name for name in names)
    clock.advance(timedelta(minutes=61))
    async with new_session() as db:
        swept = await sweep(db)
        await db.commit()
        assert (await db.exec(select(MailBudget.address))).all() == []
    assert swept["mail_budgets"] >= len(names)
