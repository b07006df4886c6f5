"""What stands in a column about a person, said where the column is declared: `neoforge db copy --mask` goes by it.

    phone: str | None = Field(default=None, sa_column_kwargs=masked(Mask.nothing))

Text, JSON and bytes without such a word are copied as they are, but for the e-mail addresses that stand in them.
"""

from enum import StrEnum
from typing import Any

MASK = "mask"


class Mask(StrEnum):
    """What a value is, and so what stands in its place. The same value has the same fake everywhere."""

    email = "email"
    name = "name"
    """Of a person."""
    password = "password"  # noqa: S105 - what a column holds
    """An Argon2id hash: in its place one of a password that the copy tells."""
    token = "token"  # noqa: S105 - what a column holds
    """Text or bytes that are as good as random: others of the same length."""
    id = "id"
    """A UUID that nothing refers to."""
    ip = "ip"
    network = "network"
    nothing = "nothing"
    """NULL."""


LEFT_OUT = {"info": {MASK: "left out"}}
"""In a table's arguments: a masked copy has none of its rows."""


def masked(mask: Mask) -> dict[str, Any]:
    """The column's arguments that say so."""
    return {"info": {MASK: mask}}
