"""Limits at the door: which rule a route names, and what an answer says of those that held for it."""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil
from typing import Any

from fastapi import Depends, Request
from starlette.types import Scope

from app.core.errors import RateLimited
from app.core.limiter import Verdict
from app.core.networks import client_of
from app.schemas.users import canonical_email
from app.services import limits

EXEMPT = frozenset({"/api/v1/health", "/api/v1/health/ready"})
_HELD = "rate_limits"


def limit(rule: str) -> Any:
    """A dependency that refuses what goes beyond `rule`: `dependencies=[limit("register")]`.

    The general rule holds for every request, and the middleware counts it; a route that names it says that it needs no
    other.
    """
    return Depends(Limit(rule))


class Limit:
    """The rule that a route names."""

    def __init__(self, rule: str) -> None:
        self.rule, self.by = rule, limits.RULES[rule]

    async def __call__(self, request: Request) -> None:
        if self.rule == limits.GENERAL or limits.rate_of(self.rule) is None:
            return
        if self.by == "client":
            await client_passes(self.rule, request.scope)
            return
        address = await _typed_address(request)
        if address is not None:
            _note(request.scope, await limits.check(self.rule, address))


async def client_passes(rule: str, scope: Scope) -> None:
    """Count one more request of its client under `rule`, for who answers a route that names it.

    Raises:
        RateLimited
    """
    peer = scope.get("client")
    _note(scope, await limits.check(rule, client_of(peer[0] if peer else None)))


def _note(scope: Scope, verdict: Verdict | None) -> None:
    if verdict is not None:
        scope.setdefault(_HELD, []).append(verdict)
        _pass(verdict)


def admit(scope: Scope) -> None:
    """Count a request under the general rule, before anything looks at it.

    Raises:
        RateLimited
    """
    if scope["path"] in EXEMPT:
        return
    peer = scope.get("client")
    verdict = limits.any_request(peer[0] if peer else None)
    if verdict is not None:
        scope["rate_limit"] = verdict
        _pass(verdict)


def headers_for(scope: Scope) -> list[tuple[bytes, bytes]]:
    """`RateLimit-Policy` and `RateLimit` of the rules that the route names, else of the general one.

    Source: draft-ietf-httpapi-ratelimit-headers.
    """
    held: Sequence[Verdict] = scope.get(_HELD) or [verdict for verdict in (scope.get("rate_limit"),) if verdict]
    if not held:
        return []
    policies = ", ".join([_policy(one.rule, *one.rate) for one in held])
    states = ", ".join([f'"{one.rule}";r={one.remaining};t={max(0, ceil(one.reset))}' for one in held])
    return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", states.encode())]


@lru_cache(maxsize=32)
def _policy(rule: str, quota: int, window: int) -> str:
    return f'"{rule}";q={quota};w={window}'


def _pass(verdict: Verdict) -> None:
    if verdict.wait:
        raise RateLimited.until(verdict.wait)


async def _typed_address(request: Request) -> str | None:
    """The address in the body, in its one form; None where there is none: validation will say so."""
    try:
        body = await request.json()
        return canonical_email(body["email"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
