"""Looking at a password that somebody typed: counted as a failure first, and hashed with no connection held."""

from typing import NamedTuple

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db import released
from app.core.errors import Overloaded
from app.core.security import password_matches
from app.models.user import User
from app.services import limits


class Guess(NamedTuple):
    """What a typed password was worth."""

    matches: bool
    newer_hash: str | None
    """The stored hash is outdated, and this one should stand in its place."""
    attempt: limits.Attempt | None

    def was_right(self) -> None:
        """It counts as no failure. Said once the caller knows that nothing else stood against it."""
        if self.attempt is not None:
            self.attempt.was_no_failure()


async def look_at(db: AsyncSession, email: str, user: User | None, network: str | None, password: str) -> Guess:
    """Whether this is the password of the account with this address. Without one all is the same.

    `network` is the request's, where the account's owner is at home. It ends the transaction, which must not have
    changed anything.

    Raises:
        RateLimited: too many tries failed at this account.
        Overloaded: nothing was looked at, and nothing counts.
    """
    async with released(db):
        attempt = await limits.attempt(email, network)
        try:
            looked_at = await password_matches(password, user.hashed_password if user else None)
        except Overloaded:
            if attempt is not None:
                attempt.was_no_failure()
            raise
        return Guess(*looked_at, attempt)
