"""Chores on accounts, each in one transaction."""

import asyncio
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.core.db import dispose, new_session, take_on_commit
from app.core.errors import ValidationFailed
from app.core.logging import set_up
from app.schemas.users import UserCreate
from app.services import accounts


def create_admin(email: str, password: str) -> UUID:
    """Make a verified account that holds every permission; its id.

    Raises:
        ValidationFailed: the address or the password does not do.
        EmailTaken: an account has this address.
    """
    set_up("command")
    try:
        new = UserCreate(email=email, password=password)
    except ValidationError as error:
        raise ValidationFailed(
            [_fault(each) for each in error.errors(include_input=False, include_url=False)]
        ) from None
    return asyncio.run(_create_admin(new))


def _fault(error: ErrorDetails) -> dict[str, str]:
    field = str(error["loc"][0])
    return {"pointer": f"/{field}", "code": error["type"], "detail": f"{field}: {error['msg']}"}


async def _create_admin(new: UserCreate) -> UUID:
    try:
        async with new_session() as db:
            user = await accounts.create_admin(db, new)
            user_id = user.id
            await db.commit()
            for action in take_on_commit(db):
                await action()
        return user_id
    finally:
        await dispose()
