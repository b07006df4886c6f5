"""What admins do to accounts and tasks, at the API and on the command line (then `actor` is None)."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.errors import NotFound
from app.core.permissions import Role
from app.crud import staff
from app.crud import user as users
from app.models.audit import Action
from app.models.background_task import BackgroundTask
from app.models.user import User
from app.schemas.admin import UserChange
from app.schemas.pages import Page, Window
from app.services import audit, erasure, last_admin, sessions, tasks, user_cache

log = structlog.get_logger()

_GRANTED = {Role.admin: Action.admin_granted, Role.support: Action.support_granted}
_REVOKED = {Role.admin: Action.admin_revoked, Role.support: Action.support_revoked}


async def find(
    db: AsyncSession,
    window: Window,
    *,
    text: str | None = None,
    is_active: bool | None = None,
    role: Role | None = None,
) -> Page[User]:
    """Accounts, the newest first: by a part of the address or name, by whether they are active, by a role."""
    return await staff.find(db, window, text=text, is_active=is_active, role=role)


async def get(db: AsyncSession, user_id: UUID) -> User:
    """
    Raises:
        NotFound
    """
    user = await users.get(db, user_id)
    if user is None:
        raise NotFound
    return user


async def change(db: AsyncSession, user_id: UUID, new: UserChange, *, actor: UUID | None) -> User:
    """Set what was given. Disabling ends every session, in the same transaction.

    Raises:
        NotFound; LastAdmin: it would leave no active admin.
    """
    given = new.given()
    if given.get("is_active") is False or Role.admin not in given.get("roles", (Role.admin,)):
        await last_admin.spare(db, user_id)
    user = await users.lock_row(db, user_id)
    if user is None:
        raise NotFound
    before = {name: getattr(user, name) for name, value in given.items() if getattr(user, name) != value}
    if not before:
        return user
    await users.update(db, db_obj=user, obj_in={name: given[name] for name in before})
    await user_cache.changed(db, user_id)
    for action in _actions(before, user):
        await audit.record(db, action, actor=actor, target=user_id)
        log.info(action.value, user_id=str(user_id))
    if not user.is_active and "is_active" in before:
        await sessions.end_all(db, user_id, reason="disabled", actor=actor)
    return user


def _actions(before: dict[str, Any], now: User) -> Iterator[Action]:
    """What the audit calls a change from these values."""
    if "is_active" in before:
        yield Action.user_enabled if now.is_active else Action.user_disabled
    if "is_verified" in before:
        yield Action.user_verified if now.is_verified else Action.user_unverified
    if "full_name" in before:
        yield Action.profile_updated
    if "roles" in before:
        yield from (_REVOKED[role] for role in _REVOKED if role in before["roles"] and role not in now.roles)
        yield from (_GRANTED[role] for role in _GRANTED if role in now.roles and role not in before["roles"])


async def delete(db: AsyncSession, user_id: UUID, *, actor: UUID | None) -> None:
    """Delete the account and all that hangs on it.

    Raises:
        NotFound; LastAdmin: it is the last active admin.
    """
    if not await erasure.erase(db, user_id, actor=actor):
        raise NotFound


async def end_sessions(db: AsyncSession, user_id: UUID, *, actor: UUID | None) -> None:
    """End every session of the account.

    Raises:
        NotFound
    """
    await get(db, user_id)
    await sessions.end_all(db, user_id, reason="ended_by_admin", actor=actor)


async def cancel_task(db: AsyncSession, task_id: UUID, *, actor: UUID | None) -> BackgroundTask:
    """End anybody's task that waits, or ask it to stop where it runs.

    Raises:
        NotFound; TaskFinished: it has ended.
    """
    task = await tasks.cancel(db, task_id, owner=None)
    await audit.record(db, Action.task_cancelled, actor=actor, target=task_id, target_type="task")
    return task


async def retry_task(db: AsyncSession, task_id: UUID, *, actor: UUID | None) -> BackgroundTask:
    """Have anybody's failed or cancelled task run again.

    Raises:
        NotFound; TaskNotRetryable: as `tasks.retry`.
    """
    task = await tasks.retry(db, task_id, owner=None)
    await audit.record(db, Action.task_retried, actor=actor, target=task_id, target_type="task")
    return task
