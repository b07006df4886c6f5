"""Which passwords are good enough: the guessable ones are refused, and no rule says what must be in one."""

import asyncio
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from zxcvbn_rs_py import zxcvbn

from app.core.email import PRODUCT
from app.core.errors import ValidationFailed
from app.core.security import normal_password

GUESSABLE_BELOW = 3  # of zxcvbn's scores 0 to 4
LOOKED_AT = 32  # characters; more costs seconds of CPU
_BETWEEN = re.compile(r"[\W_]+")
_threads = ThreadPoolExecutor(1, thread_name_prefix="zxcvbn")  # milliseconds each; others wait, and requests do not


async def check(password: str, own_words: Sequence[str | None], *, pointer: str = "/password") -> None:
    """Refuse a password that can be guessed, the account's own words included.

    Raises:
        ValidationFailed: `password_too_weak`, with the reason.
    """
    looked_at = normal_password(password)[:LOOKED_AT]
    found = await asyncio.get_running_loop().run_in_executor(_threads, zxcvbn, looked_at, _parts(own_words))
    if int(found.score) >= GUESSABLE_BELOW:
        return
    reason = str(found.feedback.warning) if found.feedback and found.feedback.warning else "It is easy to guess."
    raise ValidationFailed.at(pointer, "password_too_weak", reason)


def _parts(own_words: Sequence[str | None]) -> list[str]:
    """The words, and what they are made of, cut as the password is."""
    found = (part for word in (*own_words, PRODUCT) if word for part in (word, *word.split("@"), *_BETWEEN.split(word)))
    return list(dict.fromkeys(part[:LOOKED_AT] for part in found if part))
