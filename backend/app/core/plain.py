"""What every store, log and client takes of JSON, wherever it comes from."""

import math
from typing import Any

MAX_DEPTH = 32


def check(value: Any, depth: int = MAX_DEPTH) -> None:
    """Look through a value.

    Raises:
        ValueError: it is nested deeper than 32, or has a NUL, half of a surrogate pair, or a number without bound.
    """
    if isinstance(value, dict | list):
        if not depth:
            raise ValueError(f"It is nested deeper than {MAX_DEPTH}")
        for one in [*value, *value.values()] if isinstance(value, dict) else value:
            check(one, depth - 1)
    elif isinstance(value, str):
        if "\0" in value:
            raise ValueError("It has a NUL character")
        if any("\ud800" <= one <= "\udfff" for one in value):
            raise ValueError("It has half of a surrogate pair")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("It has a number that is out of range")
