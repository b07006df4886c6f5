"""Looking at a password that somebody typed: counted as a failure first, then hashed. No connection is held for it."""

from typing import NamedTuple

from app.core.errors import Overloaded
from app.core.security import password_matches
from app.crud.known_device import Account
from app.services import devices, limits


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


async def look_at(email: str, account: Account | None, password: str) -> Guess:
    """Whether this is the password of the account with this address. Without one all is the same.

    Raises:
        RateLimited: too many tries failed at this account.
        Overloaded: nothing was looked at, and nothing counts.
    """
    attempt = await limits.attempt(email, devices.network() if account and account.knows_network else None)
    try:
        looked_at = await password_matches(password, account.hashed_password if account else None)
    except Overloaded:
        if attempt is not None:
            attempt.was_no_failure()
        raise
    return Guess(*looked_at, attempt)
