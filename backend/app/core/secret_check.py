"""Whether the secret of this process is the one that the installation's rows were made with.

With another one every session and mailed link is void, the audit's chain cannot be continued, and two processes that
differ refuse each other's tokens: all of it without a word. So the database keeps a digest, and each process compares.
"""

import asyncio
import hmac
import os
import sys
from uuid import UUID

import structlog
from sqlalchemy import text

from app.core.config import settings
from app.core.db import engine
from app.core.process import CannotRun
from app.core.secrets import derive_key, key_id

TRY_EVERY = 1.0  # seconds, while the database is away
BEFORE_START = 3.0  # seconds that a start waits for the database's answer
STARTUP_FAILURE = 3  # uvicorn's code: a supervisor of several processes does not start this one again
DIFFERS = (
    "SECRET_KEY is not the one that this installation was set up with: supply that one, or run "
    "`neoforge keys adopt-secret` to go on with this one, which ends every session and makes every mailed link void"
)

log = structlog.get_logger()


async def compare() -> None:
    """Compare with what the first process kept; the first one keeps its own. A difference is logged.

    Raises:
        CannotRun: they differ, and this is production.
    """
    if await matches():
        return
    if settings.is_production:
        log.error("secret_mismatch", key_id=key_id())
        raise CannotRun(DIFFERS)
    log.warning("secret_mismatch", key_id=key_id(), hint=DIFFERS)


async def matches() -> bool:
    """Whether the secrets are the same. Without one to compare with, this process's own is kept."""
    asked = text("SELECT uid, secret_check FROM installation")
    async with engine().begin() as connection:
        uid, kept = (await connection.execute(asked)).one()
        own = digest(UUID(str(uid)))
        if kept is None:
            first = text("UPDATE installation SET secret_check = :own WHERE secret_check IS NULL")
            await connection.execute(first, {"own": own})
            uid, kept = (await connection.execute(asked)).one()
    return hmac.compare_digest(kept, own)


def digest(installation: UUID) -> str:
    """What the database keeps: it tells nothing of the secret, and two installations with one secret differ."""
    return hmac.new(derive_key("secret-check"), installation.bytes, "sha256").hexdigest()


async def compare_if_possible() -> None:
    """Compare before the start, if the database answers. If not, `watch` does it once it is there.

    Raises:
        CannotRun: as `compare`.
    """
    try:
        async with asyncio.timeout(BEFORE_START):
            await compare()
    except CannotRun:
        raise
    except Exception as error:  # noqa: BLE001 - away, or not migrated yet: neither keeps a process from starting
        log.info("secret_not_compared", error=type(error).__name__)


async def watch() -> None:
    """Compare as soon as the database can be asked; in production a process with another secret ends there and then."""
    while True:
        try:
            return await compare()
        except CannotRun as error:
            sys.stderr.write(f"neoforge: {error}\n")
            sys.stderr.flush()
            os._exit(STARTUP_FAILURE if "NEOFORGE_SERVED_BY" in os.environ else 1)
        except Exception:  # noqa: BLE001 - away, or not migrated yet: asked again until it answers
            await asyncio.sleep(TRY_EVERY)
