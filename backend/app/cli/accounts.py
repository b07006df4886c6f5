"""Chores on accounts, each in one transaction."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import click
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from sqlmodel.ext.asyncio.session import AsyncSession

from app.cli.work import run
from app.core.db import new_session
from app.core.errors import NotFound, ValidationFailed
from app.core.permissions import Role
from app.crud import user as users
from app.models.user import User
from app.schemas.admin import UserChange
from app.schemas.pages import MOST, Window
from app.schemas.users import UserCreate, UserResponse
from app.services import accounts, administration
from app.worker.context import transaction


def create_admin(email: str, password: str) -> UUID:
    """Make a verified account that holds every permission; its id.

    Raises:
        ValidationFailed: the address or the password does not do.
        EmailTaken: an account has this address.
    """
    try:
        new = UserCreate(email=email, password=password)
    except ValidationError as error:
        raise ValidationFailed(
            [_fault(each) for each in error.errors(include_input=False, include_url=False)]
        ) from None
    return _in_one_transaction(lambda db: _create_admin(db, new))


def _fault(error: ErrorDetails) -> dict[str, str]:
    field = str(error["loc"][0])
    return {"pointer": f"/{field}", "code": error["type"], "detail": f"{field}: {error['msg']}"}


async def _create_admin(db: AsyncSession, new: UserCreate) -> UUID:
    return (await accounts.create_admin(db, new)).id


def change(account: str, *, is_active: bool | None = None, add: str | None = None, remove: str | None = None) -> UUID:
    """Enable or disable an account, or give it a role, or take one (or `every`) from it; its id.

    Raises:
        NotFound: there is no such account.
        LastAdmin: it would leave no active admin.
    """

    async def work(db: AsyncSession) -> UUID:
        user = await find(db, account)
        given: dict[str, Any] = {} if is_active is None else {"is_active": is_active}
        if add or remove:
            kept = [role for role in user.roles if role in Role.__members__ and remove not in (role, "every")]
            given["roles"] = [*kept, *([add] if add else [])]
        await administration.change(db, user.id, UserChange(**given), actor=None)
        return user.id

    return _in_one_transaction(work)


async def find(db: AsyncSession, account: str) -> User:
    """The account of this address or id.

    Raises:
        NotFound
    """
    try:
        user = await users.get(db, UUID(account))
    except ValueError:
        user = await users.get_by_email(db, account)
    if user is None:
        raise NotFound("no account has this address or id; `neoforge users list` prints them")
    return user


def print_all(query: str | None, role: str | None, active: bool | None, *, as_json: bool) -> None:
    """Print the accounts, the newest first, a page at a time."""

    async def work() -> None:
        window: Window | None = Window("", MOST)
        while window is not None:
            async with new_session(read_only=True) as db:
                page = await administration.find(
                    db, window, text=query or None, is_active=active, role=Role(role) if role else None
                )
            for user in page.items:
                click.echo(_as_json(user) if as_json else _as_text(user))
            window = Window("", MOST, page.items[-1].id) if page.next_cursor else None

    run(work())


def _as_json(user: User) -> str:
    return UserResponse.model_validate(user).model_dump_json()


def _as_text(user: User) -> str:
    state = f"{'active' if user.is_active else 'disabled'}, {'verified' if user.is_verified else 'not verified'}"
    return f"{user.id}  {state:22}  {','.join(user.roles) or '-':13}  {user.email}"


def _in_one_transaction(work: Callable[[AsyncSession], Awaitable[UUID]]) -> UUID:
    async def whole() -> UUID:
        async with transaction() as db:
            return await work(db)

    return run(whole())
