"""One active admin is left, whatever happens at once."""

from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.errors import LastAdmin
from app.crud import staff


async def spare(db: AsyncSession, leaving: UUID) -> None:
    """Let an account stop being an active admin, or be deleted: it stays what it is until the caller has done so.

    Every active admin is locked: of two that demote each other the second sees that the first was there. Accounts
    without the role lock nothing but themselves, so that a promotion in between is waited for, and seen.

    Raises:
        LastAdmin: there is no other.
    """
    if not await staff.is_active_admin(db, leaving) and not await staff.is_active_admin(db, leaving, lock=True):
        return
    if await staff.lock_active_admins(db) == [leaving]:
        raise LastAdmin
