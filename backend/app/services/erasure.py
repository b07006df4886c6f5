"""Deleting an account: what is about the person goes with it. What stays is the audit, which knows them by id alone."""

from datetime import datetime
from uuid import UUID

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config import settings
from app.crud import user as users
from app.models.audit import Action
from app.services import access, audit, last_admin, user_cache

log = structlog.get_logger()


async def erase(db: AsyncSession, user_id: UUID, *, actor: UUID | None) -> bool:
    """Delete the account and all that hangs on it, by whose wish it may be; False when it was gone.

    The database deletes with it what refers to it. Where the request came from is kept only when `actor` is another
    than the account: then it is theirs.

    Raises:
        LastAdmin: it is the last active admin.
    """
    await last_admin.spare(db, user_id)
    if not await users.remove(db, user_id):
        return False
    await audit.record(db, Action.user_deleted, actor=actor, target=user_id, traced=actor != user_id)
    await user_cache.changed(db, user_id)
    log.info("user_deleted", user_id=str(user_id))
    return True


async def erase_unproven(db: AsyncSession, *, before: datetime, most: int) -> int:
    """Delete accounts made before then whose address nobody proved, where nobody can sign in to one; how many.

    Only where the service was started so, and still is: accounts that were made otherwise may only wait for a change.
    """
    if not (settings.require_verified_email and access.needs_verified_email()):
        return 0
    gone = await users.purge_unverified(db, before=before, most=most)
    for user_id in gone:
        await audit.record(db, Action.user_deleted, actor=None, target=user_id, traced=False)
        await user_cache.changed(db, user_id)
    return len(gone)
