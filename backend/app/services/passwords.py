"""Which passwords are good enough: the guessable ones are refused, and no rule says what must be in one."""

import asyncio
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from zxcvbn_rs_py import zxcvbn

from app.core import breach
from app.core.email import PRODUCT
from app.core.errors import ValidationFailed
from app.core.security import normal_password

GUESSABLE_BELOW = 3  # of zxcvbn's scores 0 to 4
LOOKED_AT = 32  # characters; more costs seconds of CPU
_BETWEEN = re.compile(r"[\W_]+")
COMMONEST = Path(__file__).with_name("common_passwords.txt")
# One at a time. The library keeps the interpreter to itself while it works, some 30 ms for the worst 32 characters.
_threads = ThreadPoolExecutor(1, thread_name_prefix="zxcvbn")


async def check(password: str, own_words: Sequence[str | None], *, pointer: str = "/password") -> None:
    """Refuse a password that can be guessed, the account's own words included, or that stands in published breaches.

    Raises:
        ValidationFailed: `password_too_weak`, with the reason.
    """
    if normal_password(password).casefold() in _commonest():
        raise ValidationFailed.at(pointer, "password_too_weak", "It is one of the commonest passwords.")
    looked_at = normal_password(password)[:LOOKED_AT]
    found = await asyncio.get_running_loop().run_in_executor(_threads, zxcvbn, looked_at, _parts(own_words))
    if int(found.score) < GUESSABLE_BELOW:
        reason = str(found.feedback.warning) if found.feedback and found.feedback.warning else "It is easy to guess."
        raise ValidationFailed.at(pointer, "password_too_weak", reason)
    if await breach.is_breached(normal_password(password)):
        raise ValidationFailed.at(pointer, "password_too_weak", "It stands in published breaches.")


@lru_cache(maxsize=1)
def _commonest() -> frozenset[str]:
    """The commonest passwords of eight characters and more, lower-case: some of them look random to zxcvbn.

    Source: the 20,000 commonest of published breaches, by Royce Williams, as Django 5.2 ships them, in that order.
    """
    return frozenset(COMMONEST.read_text().splitlines())


def _parts(own_words: Sequence[str | None]) -> list[str]:
    """The words, and what they are made of, cut as the password is."""
    found = (part for word in (*own_words, PRODUCT) if word for part in (word, *word.split("@"), *_BETWEEN.split(word)))
    return list(dict.fromkeys(part[:LOOKED_AT] for part in found if part))
