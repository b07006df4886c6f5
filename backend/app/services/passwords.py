"""Which passwords are good enough: the guessable ones are refused, and no rule says what must be in one."""

import asyncio
from collections.abc import Sequence

from zxcvbn_rs_py import zxcvbn

from app.core.email import PRODUCT
from app.core.errors import ValidationFailed

GUESSABLE_BELOW = 3  # of zxcvbn's scores 0 to 4
LOOKED_AT = 32  # characters; more costs seconds of CPU


async def check(password: str, own_words: Sequence[str | None], *, pointer: str = "/password") -> None:
    """Refuse a password that can be guessed, the account's own words included.

    Raises:
        ValidationFailed: `password_too_weak`, with the reason.
    """
    words = [part for word in (*own_words, PRODUCT) if word for part in (word, *word.replace("@", " ").split())]
    found = await asyncio.to_thread(zxcvbn, password[:LOOKED_AT], words)
    if int(found.score) >= GUESSABLE_BELOW:
        return
    reason = str(found.feedback.warning) if found.feedback and found.feedback.warning else "It is easy to guess."
    raise ValidationFailed.at(pointer, "password_too_weak", reason)
