"""Which passwords are good enough: the guessable ones are refused, and no rule says what must be in one."""

import re
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

from zxcvbn_rs_py import zxcvbn

from app.core import breach
from app.core.email import PRODUCT
from app.core.errors import ValidationFailed
from app.core.security import hash_password, in_a_thread, normal_password

GUESSABLE_BELOW = 3  # of zxcvbn's scores 0 to 4
LOOKED_AT = 32  # characters; more costs seconds of CPU
_BETWEEN = re.compile(r"[\W_]+")
COMMONEST = Path(__file__).with_name("common_passwords.txt")


async def hashed(password: str, own_words: Sequence[str | None], *, pointer: str = "/password") -> str:
    """The hash of a password that is good enough: nobody can guess it, the account's own words included.

    Raises:
        ValidationFailed: `password_too_weak`, with the reason; it stands in published breaches, too.
        Overloaded: as many hashes wait as may.
    """
    normal = normal_password(password)
    if normal.casefold() in _commonest():
        raise _weak(pointer, "It is one of the commonest passwords.")
    judge = partial(_judge, normal[:LOOKED_AT], _parts(own_words), pointer)
    if not breach.is_asked():
        return await hash_password(password, unless=judge)  # both at once: to change threads costs more than judging
    await in_a_thread(judge)
    if await breach.is_breached(normal):
        raise _weak(pointer, "It stands in published breaches.")
    return await hash_password(password)


def _judge(looked_at: str, own_words: list[str], pointer: str) -> None:
    # The library keeps the interpreter to itself while it works, some 30 ms for the worst 32 characters.
    found = zxcvbn(looked_at, own_words)
    if int(found.score) < GUESSABLE_BELOW:
        reason = str(found.feedback.warning) if found.feedback and found.feedback.warning else "It is easy to guess."
        raise _weak(pointer, reason)


def _weak(pointer: str, reason: str) -> ValidationFailed:
    return ValidationFailed.at(pointer, "password_too_weak", reason)


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
