"""Admins and other staff, for tests of what they may do."""

from uuid import UUID

from httpx2 import AsyncClient, Response
from sqlmodel import col, update

from app.core.db import new_session
from app.models import User
from tests.flows import V1, Account, signed_in

USERS = f"{V1}/admin/users"


async def with_roles(client: AsyncClient, *roles: str) -> Account:
    """A new account with these roles, signed in. The first admin of an installation is made by the command line."""
    account = await signed_in(client)
    async with new_session() as db:
        await db.exec(update(User).where(col(User.email) == account.email).values(roles=list(roles)))
        await db.commit()
    return account


async def id_of(account: Account) -> UUID:
    answer = await account.me()
    assert answer.status_code == 200
    return UUID(answer.json()["id"])


async def patch(admin: Account, user_id: UUID, **fields: object) -> Response:
    return await admin.client.patch(f"{USERS}/{user_id}", json=fields, headers=admin.bearer)
