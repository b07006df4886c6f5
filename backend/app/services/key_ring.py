"""Turning the ring of signing keys, and learning in each process that it has turned, without asking at each request.

No token is refused while it turns: the next key verifies before it signs; one that has signed verifies until its last
token has expired; and a token of a key that this process has not heard of makes it look again at once.
"""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core import background, secret_check, signing_keys
from app.core.clock import utc_now
from app.core.db import new_session
from app.core.secrets import key_id
from app.core.security import ACCESS_TOKEN_LIFE
from app.core.signing_keys import Ring, key_of
from app.crud import change
from app.crud import installation as rows
from app.models.audit import Action
from app.models.installation import Installation
from app.schemas.base import rfc3339
from app.services import audit

PUBLISHED = timedelta(seconds=300)  # how long a client may keep the key set: the next key must have stood in it so long
SLACK = timedelta(minutes=1)  # for a process that has not heard yet that its key was retired, and for clocks apart
EVERY = 1.0  # seconds; a process that signs or verifies asks the database no more often
AT_ONCE = 0.25  # seconds; nor this, when it meets a key that it has not heard of
NEVER = float("-inf")

log = structlog.get_logger()


class TooEarly(Exception):
    """The next key has not been public for long enough. The message says how long it still takes."""


@dataclass
class _Reader:
    """When this process last looked, by the monotonic clock."""

    began: float = NEVER
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    refreshing: bool = False

    def is_old(self) -> bool:
        return time.monotonic() - self.began >= EVERY


_reader = _Reader()


async def before_signing(db: AsyncSession) -> None:
    """Know which key signs: asks in the caller's transaction, unless this process looked within a second."""
    if _reader.is_old():
        await _read(db)


async def before_verifying() -> None:
    """Know which keys there are. Only a process that has never looked waits for it: another one looks beside."""
    if _reader.began == NEVER:
        await _look(since=time.monotonic())
    elif _reader.is_old() and not _reader.refreshing:
        _reader.refreshing = True
        background.start(_refresh())


async def before_answering() -> None:
    """Know which keys there are, as of a second ago; of before, while the database is away."""
    if _reader.began == NEVER:
        await _look(since=time.monotonic())
    elif _reader.is_old():
        await _refresh()


async def may_have_turned(kid: str) -> bool:
    """Meet a key that this process does not know: look again if that may help. False when it is none of ours."""
    if not signing_keys.is_to_come(kid) and not _reader.is_old():
        return False
    await _look(since=time.monotonic())
    return True


async def _look(*, since: float) -> None:
    """Look, by a read that begins after `since`. Those that wait share one, and there are at most four a second."""
    async with _reader.looking:
        if _reader.began >= since:
            return
        await asyncio.sleep(max(0.0, _reader.began + AT_ONCE - time.monotonic()))
        async with new_session(read_only=True) as db:
            await _read(db)


async def _refresh() -> None:
    try:
        await _look(since=time.monotonic() - EVERY)
    except Exception as error:  # noqa: BLE001 - the database is away: what is known holds, and the next request looks again
        log.warning("signing_keys_unread", error=type(error).__name__)
    finally:
        _reader.refreshing = False


async def _read(db: AsyncSession) -> None:
    began = time.monotonic()
    ring = _ring_of(await rows.get(db))
    if began >= _reader.began:  # else one that began later has told already
        _reader.began = began
        signing_keys.use(ring)


def _ring_of(row: Installation) -> Ring:
    retired = {int(number): datetime.fromisoformat(until) for number, until in row.signing_retired.items()}
    return Ring(row.signing_number, retired)


# --- what an operator does ------------------------------------------------------------------------------------------


async def rotate(db: AsyncSession, *, at_once: bool = False) -> str:
    """Have the next key sign, and publish the one after it; its `kid`.

    Raises:
        TooEarly: clients may not have the next key yet (unless `at_once`), or another rotation was first.
    """
    now, row = utc_now(), await rows.get(db)
    stood = now - row.signing_since if row.signing_since else PUBLISHED
    if stood < PUBLISHED and not at_once:
        wait = round((PUBLISHED - stood).total_seconds())
        raise TooEarly(
            f"the next key has been public for {round(stood.total_seconds())} s, and clients keep the key set for "
            f"{PUBLISHED.seconds} s: wait {wait} s more, or say --now if none but this service verifies tokens"
        )
    number = row.signing_number + 1
    lasting = {n: until for n, until in _ring_of(row).retired.items() if until > now}
    retired = {**lasting, number - 1: now + ACCESS_TOKEN_LIFE + SLACK}
    if not await rows.turn(db, number=number, since=now, retired={str(n): rfc3339(t) for n, t in retired.items()}):
        raise TooEarly("another rotation was first: see `neoforge keys list`")
    kid = key_of(number)[0]
    await change.record(db, change.SIGNING, kid)
    await audit.record(db, Action.signing_key_rotated, actor=None, target=kid, target_type="key")
    log.info("signing_key_rotated", kid=kid, number=number)
    return kid


async def listing(db: AsyncSession) -> list[tuple[int, str, str]]:
    """Every key that is in use: its number, its `kid`, and what it does."""
    row = await rows.get(db)
    ring = _ring_of(row)
    since = f" since {rfc3339(row.signing_since)}" if row.signing_since else ""
    said = {ring.number: f"signs{since}", ring.number + 1: "next: published, verifies"}
    return [
        (number, key_of(number)[0], said.get(number) or f"verifies until {rfc3339(ring.retired[number])}")
        for number in sorted(ring.verifying())
    ]


async def adopt_secret(db: AsyncSession) -> None:
    """Go on with the secret of this process. What was made with the other one is void: sessions, mailed links."""
    await rows.set_check(db, secret_check.digest((await rows.get(db)).uid))
    await audit.record(db, Action.root_key_adopted, actor=None, target=key_id(), target_type="key")
    log.warning("root_key_adopted", key_id=key_id())
