"""How much in how long: `10/minute`, as settings write it."""

import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
OFF = "false"
_FORM = re.compile(rf"([1-9][0-9]{{0,8}})\s*/\s*({'|'.join(SECONDS)})")


class Rate(NamedTuple):
    """At most `quota` in any `window` seconds."""

    quota: int
    window: int

    def __str__(self) -> str:
        return f"{self.quota}/{next(unit for unit, seconds in SECONDS.items() if seconds == self.window)}"


def parse_rate(text: str) -> Rate | None:
    """The rate that `text` names; None for `false`, which is no limit.

    Raises:
        ValueError: it names none.
    """
    if text.strip().lower() == OFF:
        return None
    found = _FORM.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"must be like 10/minute (second, minute, hour or day), or {OFF} for no limit")
    return Rate(int(found[1]), SECONDS[found[2]])


def _checked(text: str) -> str:
    parse_rate(text)
    return text


RateText = Annotated[str, AfterValidator(_checked)]
"""The type of a setting that holds a rate."""
