"""Admins who demote, disable and delete each other at once: one active admin is left each time."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
from httpx2 import AsyncClient, Response
from sqlmodel import col, func, select

from app.core.db import new_session
from app.core.sql import json_holds
from app.models import User
from tests.cleaning import empty_tables
from tests.factories import make_user
from tests.faults.stack import rounds
from tests.flows import V1, Account
from tests.staff import USERS, id_of, patch

pytestmark = pytest.mark.timeout(900)


async def leave(admin: Account, _: UUID) -> Response:
    return await admin.client.delete(f"{V1}/users/me", headers=admin.bearer)


WAYS: dict[str, Callable[[Account, UUID], Awaitable[Response]]] = {
    "demote": lambda admin, other: patch(admin, other, roles=["support"]),
    "disable": lambda admin, other: patch(admin, other, is_active=False),
    "delete": lambda admin, other: admin.client.delete(f"{USERS}/{other}", headers=admin.bearer),
    "leave": leave,
}


async def new_admin(client: AsyncClient) -> tuple[Account, UUID]:
    async with new_session() as db:
        user = await make_user(db, roles=["admin"])
    account = Account(client, user.email)
    assert (await account.login()).status_code == 200
    return account, await id_of(account)


async def active_admins() -> int:
    statement = select(func.count(col(User.id))).where(
        json_holds(col(User.roles), "admin"), col(User.is_active).is_(True)
    )
    async with new_session(read_only=True) as db:
        return (await db.exec(statement)).one()


@pytest.mark.parametrize("ways", [("demote",), tuple(WAYS)], ids=["demoting", "in every way"])
async def test_of_two_admins_one_is_left_each_time(new_client, ways: tuple[str, ...]) -> None:
    client = new_client(client_address="192.0.2.1")
    await empty_tables()
    (one, one_id), outcomes = await new_admin(client), Counter[int]()
    chance = random.Random(1)
    for _ in range(rounds(200, 20)):
        other, other_id = await new_admin(client)
        doing = [WAYS[chance.choice(ways)](one, other_id), WAYS[chance.choice(ways)](other, one_id)]
        chance.shuffle(doing)
        answers = await asyncio.gather(*doing)
        outcomes.update(answer.status_code for answer in answers)
        assert {answer.status_code for answer in answers} <= {200, 204, 401, 403, 404, 409}
        assert await active_admins() == 1
        for account in (one, other):
            still = await account.me()
            if still.status_code == 200 and "admin" in still.json()["roles"]:
                one, one_id = account, UUID(still.json()["id"])
    print(f"outcomes={dict(outcomes)}")
