"""Whether a password stands in published breaches, asked of a service that never learns it: by a range of its hash.

`GET BREACH_CHECK_URL/<first 5 hexadecimal digits of the SHA-1>` answers every known hash of that range, one
`SUFFIX:COUNT` a line, as the range service of Have I Been Pwned does and others that copy it. Without an answer in a
second the password passes: a service that is away must not keep anybody from an account.
"""

import asyncio
import hashlib
import re
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import BoundedSemaphore
from urllib.parse import urlsplit

import structlog

from app import __version__
from app.core.config import settings
from app.core.metrics import BREACH_CHECKS

TIMEOUT = 1.0  # seconds for the whole question
MOST_AT_ONCE = 8  # a service that hangs holds no more threads than these, and no more questions wait
LARGEST = 512 * 1024  # bytes; a range has some 40 KB, a padded one a little more
PIECE = 16 * 1024  # bytes
_LINE = re.compile(r"[0-9A-F]{35}:\d{1,12}")

log = structlog.get_logger()
_threads = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="breach")
_free = BoundedSemaphore(MOST_AT_ONCE)


class Unusable(Exception):
    """The service's answer is none that we can use."""


def is_asked() -> bool:
    """Whether a service is named."""
    return bool(settings.breach_check_url)


async def is_breached(password: str) -> bool:
    """Whether the service knows the password. False too when it is not asked, or gives no answer in time."""
    if not is_asked():
        return False
    digest = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()
    if not _free.acquire(blocking=False):
        return _unanswered("Busy")
    asked = asyncio.get_running_loop().run_in_executor(_threads, _ask, digest)
    asked.add_done_callback(_settle)
    try:
        async with asyncio.timeout(TIMEOUT):
            known = await asyncio.shield(asked)  # the thread ends by its own deadline, and frees its place then
    except (OSError, HTTPException, Unusable, TimeoutError) as error:
        return _unanswered(type(error).__name__)
    BREACH_CHECKS.labels(outcome="known" if known else "unknown").inc()
    return known


def _settle(asked: asyncio.Future[bool]) -> None:
    _free.release()
    if not asked.cancelled():
        asked.exception()  # looked at: who asked may have gone


def _unanswered(why: str) -> bool:
    BREACH_CHECKS.labels(outcome="unanswered").inc()
    log.warning("breach_check_unanswered", error=why)
    return False


def _ask(digest: str) -> bool:
    """Ask for the range. In a thread, by the standard library: one GET is no reason for an HTTP client among our
    dependencies. It follows no redirect, uses no proxy, and keeps no connection.
    """
    deadline = time.monotonic() + TIMEOUT
    url = urlsplit(settings.breach_check_url)
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=TIMEOUT)
    try:
        headers = {"Add-Padding": "true", "User-Agent": f"NeoForge/{__version__}", "Accept": "text/plain"}
        connection.request("GET", f"{url.path.rstrip('/')}/{digest[:5]}", headers=headers)
        with connection.getresponse() as answer:
            if answer.status != HTTPStatus.OK:
                raise Unusable(f"status {answer.status}")
            body = bytearray()
            while piece := answer.read1(PIECE):
                body += piece
                if len(body) > LARGEST or time.monotonic() > deadline:
                    raise Unusable("too long")
    finally:
        connection.close()
    return _stands_in(body.decode("ascii", "replace").upper().split(), digest[5:])


def _stands_in(lines: list[str], suffix: str) -> bool:
    """Whether the range names the suffix. Padding has a count of 0."""
    if not all(_LINE.fullmatch(line) for line in lines):
        raise Unusable("not a range")
    return any(line.startswith(suffix) and int(line.partition(":")[2]) > 0 for line in lines)
