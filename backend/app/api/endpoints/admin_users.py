"""Accounts, for those who look after them."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from app.api.deps import DB, CurrentPrincipal, Listing, no_store, require
from app.api.limits import limit
from app.api.problems import raises
from app.api.strict import StrictRouter
from app.core.errors import (
    InvalidAccessToken,
    LastAdmin,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
    SessionRevoked,
)
from app.core.permissions import Permission, Role
from app.models.user import User
from app.schemas.admin import UserChange
from app.schemas.pages import Page
from app.schemas.users import UserResponse
from app.services import administration

AUTH = raises(NotAuthenticated, InvalidAccessToken, SessionRevoked, PermissionDenied)
READ, WRITE = require(Permission.users_read), require(Permission.users_write)
router = StrictRouter(prefix="/admin/users", tags=["admin"], dependencies=[Depends(no_store)], responses=AUTH)

Search = Annotated[
    str | None, Query(min_length=1, max_length=320, description="An address, or a part of an address or name.")
]


@router.get("", response_model=Page[UserResponse], dependencies=[READ])
async def list_users(
    db: DB, window: Listing, q: Search = None, is_active: bool | None = None, role: Role | None = None
) -> Page[User]:
    """Every account, the newest first. `role=user` is every account's."""
    return await administration.find(db, window, text=q, is_active=is_active, role=role)


@router.get("/{user_id}", response_model=UserResponse, dependencies=[READ], responses=raises(NotFound))
async def read_user(user_id: UUID, db: DB) -> User:
    """One account."""
    return await administration.get(db, user_id)


@router.patch(
    "/{user_id}",
    response_model=UserResponse,
    dependencies=[WRITE, limit("general")],
    responses=raises(NotFound, LastAdmin),
)
async def change_user(user_id: UUID, new: UserChange, principal: CurrentPrincipal, db: DB) -> User:
    """Change what is sent, and leave the rest. Disabling an account ends all its sessions."""
    return await administration.change(db, user_id, new, actor=principal.id)


@router.delete(
    "/{user_id}", status_code=204, dependencies=[WRITE, limit("general")], responses=raises(NotFound, LastAdmin)
)
async def delete_user(user_id: UUID, principal: CurrentPrincipal, db: DB) -> None:
    """Delete an account and all that hangs on it."""
    await administration.delete(db, user_id, actor=principal.id)


@router.delete(
    "/{user_id}/sessions", status_code=204, dependencies=[WRITE, limit("general")], responses=raises(NotFound)
)
async def end_user_sessions(user_id: UUID, principal: CurrentPrincipal, db: DB) -> None:
    """Sign an account out everywhere."""
    await administration.end_sessions(db, user_id, actor=principal.id)
