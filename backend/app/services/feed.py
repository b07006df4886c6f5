"""Reading the feed of changes, in one place a process: whoever keeps something that a row names forgets it.

What is kept may be used only while `is_fresh()`: the last read that succeeded began less than a second ago, so that no
answer is older than that, whatever has happened to Redis, to the network or to this process.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from uuid import UUID

import structlog

from app.core import db
from app.core.db_errors import is_unavailable
from app.crud import change
from app.crud.change import Place
from app.services.told import Told

EVERY = 0.25  # seconds from the beginning of one read to that of the next
BOUND = 1.0  # seconds
PATIENCE = 0.9  # seconds for one read
NEVER = float("-inf")

Forget = Callable[[str | None], None]
"""Told the subject of a change, or None: whatever it keeps may be old."""

log = structlog.get_logger()
_keepers: dict[str, list[Forget]] = {}


class _Reading:
    """How far this process has read."""

    __slots__ = ("began", "moved", "place", "told")

    def __init__(self) -> None:
        self.began = NEVER
        """When the last read that succeeded began, by the monotonic clock."""
        self.moved = 0
        """How often something was forgotten."""
        self.place: Place | None = None
        self.told = Told()


_reading = _Reading()


def keeps(topic: str, forget: Forget) -> None:
    """Have `forget` told of each change of `topic`."""
    _keepers.setdefault(topic, []).append(forget)


def is_fresh() -> bool:
    """Whether nothing that is kept is older than a second."""
    return time.monotonic() - _reading.began < BOUND


def moved() -> int:
    """A number that changes whenever something is forgotten. What was read before it changed is not to be kept."""
    return _reading.moved


def knows(place: Place, subjects: Iterable[UUID]) -> bool:
    """Whether what was read at `place`, by whomever, can be used of these: nothing in it is older than a second."""
    return is_fresh() and _reading.told.are_known_at(place, map(str, subjects))


def apply(changes: Iterable[tuple[str, str]]) -> None:
    """Forget what these name: a process need not wait for the feed to tell it of what it has just committed itself."""
    for topic, subject in changes:
        _tell(topic, subject)
        _reading.told.made(subject, _reading.moved)


def _tell(topic: str, subject: str | None) -> None:
    _reading.moved += 1
    for forget in _keepers.get(topic, ()):
        forget(subject)


async def follow() -> None:
    """Read the feed until cancelled. A read that fails is tried again; meanwhile nothing is fresh for long."""
    failing = False
    while True:
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                await read()
        except Exception as error:  # the database may be away: the requests ask it themselves until it is back
            if not failing:
                log.warning("feed_unread", error=type(error).__name__, exc_info=not is_unavailable(error))
            failing = True
        else:
            failing = False
        await asyncio.sleep(max(EVERY / 5, began + EVERY - time.monotonic()))


async def read() -> None:
    """Read what is new. After a pause in which rows may have been purged, all that is kept is forgotten instead.

    So it is when another server answers: its transactions have numbers of their own.
    """
    began, moved, last = time.monotonic(), _reading.moved, _reading.place
    async with db.aside() as connection:
        news: list[tuple[str, str]] = []
        place: Place | None = None
        if last is not None and is_fresh():
            news, place = await change.since(connection, last)
        if last is None or place is None or place.server != last.server:
            place = await change.here(connection)
            for topic in _keepers:
                _tell(topic, None)
            _reading.told.begin(place, began=moved)
        else:
            for topic, subject in news:
                _tell(topic, subject)
            _reading.told.read((subject for _, subject in news), place, began=moved)
    _reading.place, _reading.began = place, began
