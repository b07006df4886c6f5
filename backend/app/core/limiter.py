"""Exact limits: a log of what passed in the last window, in Redis, or in this process while Redis does not answer.

What is refused is not logged, so a client that keeps knocking is let in as soon as one that waits.
"""

import asyncio
from collections import OrderedDict, deque
from functools import lru_cache
from typing import NamedTuple

from app.core import clock, redis
from app.core.config import settings
from app.core.metrics import LIMIT_FALLBACKS, LIMIT_REFUSALS
from app.core.rate import Rate
from app.core.redis_budget import Breaker, Script

MICRO = 1_000_000
MOST_LOCAL = 10_000  # logs that one process keeps; the one not asked for longest goes

# By Redis's clock, so that replicas agree. ARGV: how far this process has shifted its own, window, quota, gap, token.
# Past the quota one passes each `gap`; without a gap, when the oldest leaves the window. All times in microseconds.
_TAKE = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2] + ARGV[1]
local window, quota, gap = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - window))
local count = redis.call('ZCARD', KEYS[1])
local wait = 0
if count >= quota then
  if gap > 0 then
    wait = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2] + gap - now
  else
    wait = redis.call('ZRANGE', KEYS[1], count - quota, count - quota, 'WITHSCORES')[2] + window - now
  end
end
if wait <= 0 then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[5])
  redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000) + 1000)
  wait, count = 0, count + 1
end
local reset = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] + window - now
return {math.max(0, quota - count), math.ceil(reset), math.ceil(wait)}
""")


class Verdict(NamedTuple):
    """Whether a request passes a rule, and how much is left of it."""

    rule: str
    rate: Rate
    remaining: int
    reset: float
    """Seconds until some of the quota comes back."""
    wait: float
    """Seconds until the next one passes; 0 when this one did."""


async def take(rule: str, rate: Rate, name: str, *, gap: int = 0, token: str) -> Verdict:
    """Let one more pass, if the rate allows it. `token` names this one, so that it can be given back.

    With a `gap`, one passes each so many seconds although the quota is used up.
    """
    key = await redis.key(name)
    shift = int(clock.shifted().total_seconds() * MICRO)
    args = (shift, rate.window * MICRO, rate.quota, gap * MICRO, token)
    found = await _breaker(asyncio.get_running_loop()).ask(lambda: _TAKE.run([key], *args))
    if found is not None:
        remaining, reset, wait = found
        verdict = Verdict(rule, rate, remaining, reset / MICRO, wait / MICRO)
        if not wait:
            _local.note(key, rate, token)
    else:
        LIMIT_FALLBACKS.labels(rule=rule).inc()
        verdict = _local.take(rule, rate, key, gap=gap, token=token)
    if verdict.wait:
        LIMIT_REFUSALS.labels(rule=rule).inc()
    return verdict


async def give_back(name: str, token: str) -> None:
    """It does not count after all."""
    key = await redis.key(name)
    _local.give_back(key, token)
    await _breaker(asyncio.get_running_loop()).ask(lambda: redis.redis_client().zrem(key, token))


class Local:
    """The same in this process, with its share of the quota. What Redis let pass is logged too: it counts once Redis
    does not answer any more."""

    def __init__(self, most: int = MOST_LOCAL) -> None:
        self._most = most
        self._logs: OrderedDict[str, deque[tuple[float, str]]] = OrderedDict()

    def take(self, rule: str, rate: Rate, key: str, *, gap: int, token: str) -> Verdict:
        processes = settings.processes
        quota, now = max(1, rate.quota // processes), clock.utc_now().timestamp()
        passed = self._log(key, now - rate.window)
        wait = 0.0
        if len(passed) >= quota:
            wait = passed[-1][0] + gap * processes - now if gap else passed[-quota][0] + rate.window - now
        if wait <= 0:
            passed.append((now, token))
        return Verdict(rule, rate, max(0, quota - len(passed)), passed[0][0] + rate.window - now, max(0.0, wait))

    def note(self, key: str, rate: Rate, token: str) -> None:
        now = clock.utc_now().timestamp()
        self._log(key, now - rate.window).append((now, token))

    def give_back(self, key: str, token: str) -> None:
        passed = self._logs.get(key)
        if passed is not None:
            self._logs[key] = deque(one for one in passed if one[1] != token)

    def _log(self, key: str, since: float) -> deque[tuple[float, str]]:
        passed = self._logs.setdefault(key, deque())
        self._logs.move_to_end(key)
        while passed and passed[0][0] <= since:
            passed.popleft()
        if len(self._logs) > self._most:
            self._logs.popitem(last=False)
        return passed


_local = Local()


@lru_cache(maxsize=2)
def _breaker(_loop: asyncio.AbstractEventLoop) -> Breaker:
    return Breaker("limits")
