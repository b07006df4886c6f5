"""What is limited, and for whom. Figures are settings; `docs/limits.md` says what each is for."""

import asyncio
import contextvars
import hashlib
import hmac
import secrets
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from app.core import background, declared, limiter, reconciling
from app.core.config import settings
from app.core.counters import Counters
from app.core.errors import RateLimited
from app.core.kinds import AS_STARTED
from app.core.limiter import Verdict
from app.core.networks import client_of
from app.core.rate import Rate, parse_rate
from app.core.secrets import derive_key

By = Literal["client", "address"]
GENERAL, ACCOUNT = "general", "account"
RULES: dict[str, By] = {
    GENERAL: "client",
    "login": "client",
    "password": "client",
    "register": "client",
    "forgot": "address",
    "resend": "address",
}
"""Each rule that a route may name, and what it counts together: a client's requests, or those for an email address."""
ONE_TRY_EACH = 60  # seconds, for one account past its failures

_general: tuple[Counters, asyncio.Task[None]] | None = None
_applied: Rate | None = None
_counts = False


def rate_of(rule: str) -> Rate | None:
    """The rule's figures, as they are set now; None when it is turned off."""
    if not settings.rate_limit_enabled:
        return None
    said = declared.rate_limits[rule]()
    return _parsed(getattr(settings, f"rate_limit_{rule}") if said == AS_STARTED else said)


_parsed = lru_cache(maxsize=64)(parse_rate)


def public_limits() -> dict[str, str]:
    """What clients may know of the limits."""
    return {rule: str(rate) for rule in RULES if (rate := rate_of(rule))}


# --- any request ----------------------------------------------------------------------------------------------------


def start() -> None:
    """Count every request from now on, and reconcile with the other processes in the background."""
    global _applied, _counts, _general
    _counts = True
    rate = _applied = rate_of(GENERAL)
    _general = None
    if rate is not None:
        counters, loop = Counters(GENERAL, rate, settings.processes), asyncio.get_running_loop()
        # In a context of its own: its log lines are not those of the request that changed the figures.
        _general = counters, loop.create_task(reconciling.run(counters), context=contextvars.Context())


async def stop() -> None:
    global _counts, _general
    _counts = False
    if _general is not None:
        task = _general[1]
        _general = None
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def adjust() -> None:
    """Go by the general rule's figures as they are set now. What was counted under others is forgotten.

    A process that answers no requests, and never started to count, has nothing to adjust.
    """
    if _counts and rate_of(GENERAL) != _applied:
        before = _general
        start()
        if before is not None:
            before[1].cancel()


def any_request(address: str | None) -> Verdict | None:
    """Count one more request of this client; None when nothing is counted."""
    return _general[0].take(client_of(address)) if _general is not None else None


# --- the routes that name a rule ------------------------------------------------------------------------------------


async def check(rule: str, subject: str) -> Verdict | None:
    """Count one more request under `rule`, of a client's network address or for a canonical email address."""
    rate = rate_of(rule)
    if rate is None:
        return None
    name = subject if RULES[rule] == "client" else _secret_name(subject)
    return await limiter.take(rule, rate, f"limit:{{{rule}}}:{name}", token=secrets.token_hex(8))


# --- guessing at one account ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try at an account's password. It counts as a failure until it is said that it was none."""

    name: str
    token: str

    def was_no_failure(self) -> None:
        """It was right, or never looked at. Nobody waits for this."""
        background.start(limiter.give_back(self.name, self.token))


async def attempt(email: str, known_network: str | None) -> Attempt | None:
    """Count a try at the account of this address, whether there is one or not, before its password is looked at.

    A network that is known to the account counts for itself, so that strangers cannot keep its owner out.

    Raises:
        RateLimited: too many tries failed; one each minute is let through.
    """
    rate = rate_of(ACCOUNT)
    if rate is None:
        return None
    whose = _secret_name(email if known_network is None else f"{email} {known_network}")
    made = Attempt(f"limit:{{{ACCOUNT}}}:{whose}", secrets.token_hex(8))
    verdict = await limiter.take(ACCOUNT, rate, made.name, gap=ONE_TRY_EACH, token=made.token)
    if verdict.wait:
        raise RateLimited.until(verdict.wait)
    return made


def _secret_name(email: str) -> str:
    """An address as it stands in Redis: nobody who reads it there learns whose it is."""
    return hmac.digest(derive_key("limits"), email.encode(), hashlib.sha256).hex()[:32]
