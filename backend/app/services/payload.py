"""What a task may be given: JSON that both databases store and give back as it was, of a bounded size and depth."""

import json
from typing import Any
from uuid import UUID

MOST = 64 * 1024  # bytes of UTF-8
DEEPEST = 32


class PayloadRefused(ValueError):
    """The arguments of a task cannot be stored. The message names the argument and never its value."""


def checked(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as they are stored. UUIDs become text.

    Raises:
        PayloadRefused: one is no JSON value, holds what PostgreSQL's JSON cannot (NaN, NUL, half a surrogate pair), is
            nested deeper than 32, or all of them together are larger than 64 KiB.
    """
    size, stored = 2, {}
    for name, value in arguments.items():
        stored[name] = str(value) if isinstance(value, UUID) else value
        size += len(_encoded(name, stored[name])) + len(name) + 6  # its quotes, colon and comma
    if size > MOST:
        raise PayloadRefused(f"the arguments take {size} bytes as JSON, and {MOST} at most are kept: store ids instead")
    return stored


def _encoded(name: str, value: Any) -> bytes:
    if _depth(value) > DEEPEST - 1:  # the arguments themselves are the first level
        raise PayloadRefused(f"{name} is nested deeper than {DEEPEST}")
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        encoded = text.encode()
    except (TypeError, ValueError):  # also UnicodeEncodeError: half of a surrogate pair
        raise PayloadRefused(f"{name} is no JSON value: give numbers, texts, lists and dictionaries of these") from None
    if "\\u0000" in text.replace("\\\\", ""):
        raise PayloadRefused(f"{name} holds a NUL, which PostgreSQL does not store")
    return encoded


def _depth(value: Any, above: int = 0) -> int:
    """How deep lists and dictionaries are nested; looked at only as far as is needed to refuse."""
    if not isinstance(value, (dict, list, tuple)) or above > DEEPEST:
        return above
    inner = value.values() if isinstance(value, dict) else value
    return max((_depth(one, above + 1) for one in inner), default=above + 1)
