"""Dynamic settings and flags as each process knows them.

A change writes a row of `changes`, so that each process reads anew within a second. While the database is away the last
known values go on being served.
"""

import asyncio
import time
from contextlib import suppress

import structlog

from app.core import declared, dynamic, logging
from app.core.config import settings
from app.core.db import new_session
from app.core.db_errors import is_unavailable
from app.core.declared import DECLARED, LogLevel
from app.core.dynamic import Caller
from app.core.permissions import Role
from app.crud import change
from app.crud import config_revision as rows
from app.schemas.dynamic_config import Evaluated
from app.schemas.principal import Principal
from app.services import feed, limits

PATIENCE = 0.5  # seconds that a reader waits for the newest values; then those that are known do
AGAIN = 0.25  # seconds between two tries to read them

log = structlog.get_logger()


class _Known:
    """How much this process knows."""

    def __init__(self) -> None:
        self.stale = asyncio.Event()
        """Something was changed since the values were read."""
        self.stale.set()
        self.changes = 0
        """How often it was heard that something was."""
        self.reading = asyncio.Lock()
        self.changed = asyncio.Event()
        """Set, and made anew, whenever the values are others."""
        self.version = 0
        self.read_at = feed.NEVER
        """When `recent` last read them, by the monotonic clock."""
        self.log_level: str = settings.log_level


_known = _Known()


# --- knowing --------------------------------------------------------------------------------------------------------


def start() -> None:
    """Know nothing: a loop begins, which is to read the values."""
    global _known
    _known = _Known()
    dynamic.use({})


async def follow() -> None:
    """Read the values whenever they were changed, until cancelled."""
    while True:
        await _known.stale.wait()
        try:
            async with asyncio.timeout(2):
                await _read()
        except Exception as error:  # the database may be away: the last known values hold until it is back
            log.warning("config_unread", error=type(error).__name__, exc_info=not is_unavailable(error))
            await asyncio.sleep(AGAIN)


async def fresh() -> None:
    """Know what is set now, or wait half a second for it: then what is known holds."""
    if _known.stale.is_set():
        try:
            async with asyncio.timeout(PATIENCE):
                await _read()
        except Exception as error:  # the database is away
            log.warning("config_unread", error=type(error).__name__, exc_info=not is_unavailable(error))


async def recent() -> None:
    """Know what was set a second ago: for a process that follows nothing, and asks before it begins something.

    While the database is away what is known holds.
    """
    if time.monotonic() - _known.read_at >= feed.BOUND:
        _forget(None)
        await fresh()
        _known.read_at = time.monotonic()


def is_known() -> bool:
    """Whether this process has read what was set last."""
    return not _known.stale.is_set() and feed.is_fresh()


def version() -> int:
    """A number that changes with the values."""
    return _known.version


async def next_version(after: int, *, within: float) -> None:
    """Wait until the values are others than those of `after`, or so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            while _known.version == after:
                await _known.changed.wait()


async def _read() -> None:
    async with _known.reading:
        if not _known.stale.is_set():
            return
        changes = _known.changes
        async with new_session(read_only=True) as db:
            values = await rows.current(db)
        if _known.changes == changes:  # else it is read once more
            _known.stale.clear()
        for key in dynamic.use(values):
            log.warning("config_unfit", key=key)
        _apply()
        _known.version += 1
        _known.changed.set()
        _known.changed = asyncio.Event()


def _apply() -> None:
    """What does not ask for its setting each time is told of it."""
    said = declared.log_level()
    level = settings.log_level if said is LogLevel.as_started else said.upper()
    if level != _known.log_level:
        _known.log_level = level
        logging.use_level(level)
    limits.adjust()


def _forget(_: str | None) -> None:
    _known.changes += 1
    _known.stale.set()


feed.keeps(change.CONFIG, _forget)


def caller_of(principal: Principal | None) -> Caller:
    """Who asks, as a rule sees them."""
    return Caller(principal.id, frozenset(principal.roles) | {Role.user}) if principal else dynamic.ANYBODY


def evaluate(key: str, caller: Caller) -> Evaluated | None:
    """A key for a caller; None where there is none that they may know."""
    setting = DECLARED.get(key)
    if setting is None or not dynamic.may_know(caller, setting):
        return None
    value, reason = setting.evaluate(caller)
    variant = (
        ("on" if value else "off") if isinstance(value, bool) else "default" if value == setting.default else "set"
    )
    return Evaluated(key=key, value=value, reason=reason, variant=variant, metadata={"type": setting.kind})


def evaluate_all(caller: Caller) -> list[Evaluated]:
    """Every key that the caller may know."""
    return [found for key in DECLARED if (found := evaluate(key, caller))]
