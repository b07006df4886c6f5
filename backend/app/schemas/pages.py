"""Lists over the wire, newest first, and the cursor that leads on: opaque, and good for the list that made it alone."""

import base64
import binascii
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Self, TypeVar
from uuid import UUID

from app.core.errors import ValidationFailed
from app.core.secrets import derive_key
from app.schemas.base import Output

DEFAULT, MOST = 20, 100
_MAC = 16  # bytes: nobody can try cursors faster than the service answers

Item = TypeVar("Item")
Other = TypeVar("Other")


class Page(Output, Generic[Item]):
    items: list[Item]
    next_cursor: str | None

    def of(self, show: Callable[[Item], Other]) -> "Page[Other]":
        """The same page, each item as `show` makes it."""
        return Page.model_construct(items=[show(item) for item in self.items], next_cursor=self.next_cursor)


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list is asked for."""

    route: str
    """The route's template: a cursor of another list is refused."""
    limit: int = DEFAULT
    before: UUID | None = None
    """The last id of the page before."""

    @classmethod
    def at(cls, route: str, limit: int, cursor: str | None) -> Self:
        """
        Raises:
            ValidationFailed: this list did not make the cursor.
        """
        return cls(route, limit, _read(route, cursor) if cursor is not None else None)

    def cursor(self, last: UUID) -> str:
        """What leads on from the row `last`."""
        return base64.urlsafe_b64encode(last.bytes + _mac(self.route, last)).rstrip(b"=").decode()


def _read(route: str, cursor: str) -> UUID:
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        last = UUID(bytes=raw[:-_MAC])
    except (binascii.Error, ValueError):
        raise _refused() from None
    # Compared as it was written: one cursor has one spelling.
    if not hmac.compare_digest(Window(route).cursor(last).encode(), cursor.encode()):
        raise _refused()
    return last


def _refused() -> ValidationFailed:
    return ValidationFailed.at("/query/cursor", "cursor_invalid", "This list did not make this cursor")


def _mac(route: str, last: UUID) -> bytes:
    return hmac.digest(derive_key("cursor"), route.encode() + b"\0" + last.bytes, "sha256")[:_MAC]
