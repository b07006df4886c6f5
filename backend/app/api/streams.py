"""Event streams: which are open, how many may be, and that none outlives its session, its token or the process.

What a stream tells is the business of who offers it; how that is written is `event_stream.py`'s.
"""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from app.core.clock import utc_now
from app.core.config import settings
from app.core.db_errors import is_unavailable
from app.core.errors import ServiceUnavailable, StreamsFull, TooManyStreams
from app.core.metrics import EVENT_STREAMS
from app.services import access

A_USER = 20  # streams of one account in one process
A_CLIENT = 50  # of strangers from one address (an IPv6 /64), which may be an office
TICK = 0.1  # seconds between two looks at who may go on
ASK_EVERY = 0.4  # seconds from one question after all sessions to the next
BOUND = 1.0  # seconds that a session counts as standing after the question that found it so: the bound of revocation
GRACE = 0.2  # seconds for a stream that is ended to say so; a client that takes nothing is cut off then

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose stream it is, and until when its access token holds."""

    user_id: UUID
    session_id: UUID
    until: datetime


class Stream:
    """One open stream. It keeps the newest event alone: a slow client misses what lies between, never what is last."""

    __slots__ = ("_cut", "_event", "_last", "_news", "confirmed", "over", "reader")

    def __init__(self, reader: Reader | None, cut: Callable[[], None] | None) -> None:
        self.reader, self._cut = reader, cut
        self._event, self._last, self._news = b"", False, asyncio.Event()
        self.over = False
        """Nothing more is to be sent."""
        self.confirmed = asyncio.get_running_loop().time()
        """When it was last asked whether the session stands, and it did."""

    def offer(self, event: bytes, *, last: bool = False) -> None:
        """Send this next, in the place of what has not been sent yet; with `last`, end after it."""
        if not self.over:
            self._event, self._last = event, last
            self._news.set()

    def end(self) -> None:
        """Send nothing more."""
        if not self.over:
            self.over, self._event = True, b""
            self._news.set()
            if self._cut is not None:
                asyncio.get_running_loop().call_later(GRACE, self._cut_off)

    def close(self) -> None:
        """It has ended."""
        self.over, self._cut = True, None

    def _cut_off(self) -> None:
        if self._cut is not None:
            self._cut()

    async def next(self) -> bytes:
        """Wait for the event that is to be sent; nothing where the stream has ended."""
        await self._news.wait()
        self._news.clear()
        event, self._event = self._event, b""
        self.over = self.over or self._last
        return event


_open: set[Stream] = set()
_of_one: Counter[UUID | str] = Counter()
"""How many, by account; those of strangers by client."""
_guarding: asyncio.Task[None] | None = None
_stopping = False


def start() -> None:
    """Let streams be opened, from the start of the process on."""
    global _stopping
    _stopping = False


def end_all() -> None:
    """End every stream, and open none any more: the process stops. Clients come back, and to another one."""
    global _stopping
    _stopping = True
    for stream in tuple(_open):
        stream.end()


@contextmanager
def opened(reader: Reader | None, client: str, cut: Callable[[], None] | None) -> Iterator[Stream]:
    """A stream that is open within the block. `cut` breaks off its connection. Without a reader it is a stranger's.

    Raises:
        TooManyStreams: the account has 20 in this process; or the client 50, of strangers.
        StreamsFull: the process has as many as STREAMS, or half as many of strangers.
        ServiceUnavailable: the process stops.
    """
    global _guarding
    if _stopping:
        raise ServiceUnavailable
    whose = reader.user_id if reader else client
    if _of_one[whose] >= (A_USER if reader else A_CLIENT):
        raise TooManyStreams
    strangers = sum(stream.reader is None for stream in _open) if reader is None else 0
    if len(_open) >= settings.streams or strangers >= max(1, settings.streams // 2):
        raise StreamsFull
    stream = Stream(reader, cut)
    _open.add(stream)
    _of_one[whose] += 1
    EVENT_STREAMS.set(len(_open))
    if _guarding is None or _guarding.done():
        # In a context of its own: its log lines are not those of the request that happened to come first.
        _guarding = asyncio.get_running_loop().create_task(_guard(), context=contextvars.Context())
    try:
        yield stream
    finally:
        stream.close()
        _open.discard(stream)
        _of_one[whose] -= 1
        if not _of_one[whose]:
            del _of_one[whose]
        EVENT_STREAMS.set(len(_open))


async def _guard() -> None:
    """End each stream whose session or token does not hold any more, or cannot be known to.

    The question is asked beside, so that a database that does not answer keeps no stream open.
    """
    loop = asyncio.get_running_loop()
    asking, asked = None, 0.0
    while _open or not (asking is None or asking.done()):
        now = loop.time()
        if (asking is None or asking.done()) and now >= asked + ASK_EVERY:
            asking, asked = loop.create_task(_ask()), now
        await asyncio.sleep(TICK)
        latest, clock = loop.time() + TICK - BOUND, utc_now()
        for stream in tuple(_open):
            if stream.reader and (stream.confirmed < latest or stream.reader.until <= clock):
                stream.end()


async def _ask() -> None:
    """Ask after the sessions of all streams at once, and end the streams of those that have ended."""
    began = asyncio.get_running_loop().time()
    streams = {stream: stream.reader.session_id for stream in _open if stream.reader}
    try:
        async with asyncio.timeout(BOUND):
            standing = await access.standing(set(streams.values()))
    except Exception as error:  # whatever it was, nothing is confirmed now: the guard ends what stays so
        fault = None if is_unavailable(error) else error
        log.warning("streams_not_confirmed", error=type(error).__name__, streams=len(streams), exc_info=fault)
        return
    for stream, session_id in streams.items():
        if session_id in standing:
            stream.confirmed = began
        else:
            stream.end()
