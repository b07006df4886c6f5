"""Telling Redis what this process counted, and hearing what all processes counted: each second, and sooner in need."""

import asyncio
import contextlib

import structlog

from app.core import clock, redis
from app.core.counters import SLOTS, Client, Counters
from app.core.metrics import LIMIT_FALLBACKS
from app.core.redis_budget import Script

EVERY = 1.0  # seconds
SOONEST = 0.01  # seconds between two reconciliations in a hurry
TOGETHER = 100  # clients in one call

# A hash a client: its field is a slot, its value what passed in it. ARGV: the window's oldest slot, the ms it lives,
# then for each key how many slots follow, and each slot with what to add.
_ADD = Script("""
local oldest, life, at, answer = tonumber(ARGV[1]), ARGV[2], 3, {}
for k, key in ipairs(KEYS) do
  local pairs_of_key = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, pairs_of_key do
    redis.call('HINCRBY', key, ARGV[at], ARGV[at + 1])
    at = at + 2
  end
  local all, kept = redis.call('HGETALL', key), {}
  for i = 1, #all, 2 do
    if tonumber(all[i]) < oldest then
      redis.call('HDEL', key, all[i])
    else
      kept[#kept + 1] = tonumber(all[i])
      kept[#kept + 1] = tonumber(all[i + 1])
    end
  end
  if #kept > 0 then redis.call('PEXPIRE', key, life) end
  answer[k] = kept
end
return answer
""")

log = structlog.get_logger()


async def run(counters: Counters) -> None:
    """Reconcile until cancelled."""
    while True:
        await _due(counters)
        counters.hurry.clear()
        try:
            answered = await reconcile(counters)
        except Exception as error:  # noqa: BLE001 - Redis or the database is away: its share holds meanwhile
            LIMIT_FALLBACKS.labels(rule=counters.rule).inc()
            if not counters.cut_off:
                log.warning("limits_cut_off", error=type(error).__name__)
            counters.cut_off = True
        else:
            if answered and counters.cut_off:
                log.info("limits_reconciled")
                counters.cut_off = False


async def _due(counters: Counters) -> None:
    """Wait for the next second, or until a client hurries."""
    loop = asyncio.get_running_loop()
    until = loop.time() + EVERY
    await asyncio.sleep(SOONEST)
    if counters.cut_off:  # a Redis that is away is not asked sooner
        await asyncio.sleep(until - loop.time())
    else:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await counters.hurry.wait()


async def reconcile(counters: Counters) -> bool:
    """Tell and hear of every client that asked since the last time; False when none did, and Redis was not asked.

    Raises:
        Unreachable, or what the database raises where it is asked for the prefix.
    """
    waiting, counters.waiting = counters.waiting, set()
    prefix = await redis.key(f"limit:{{{counters.rule}}}:")
    todo = [(name, counters.clients[name]) for name in waiting if name in counters.clients]
    answered = bool(todo)
    try:
        while todo:
            await _exchange(counters, prefix, todo[:TOGETHER])
            del todo[:TOGETHER]
    except BaseException:
        counters.waiting |= {name for name, _ in todo}
        raise
    return answered


async def _exchange(counters: Counters, prefix: str, batch: list[tuple[str, Client]]) -> None:
    slot = int(clock.utc_now().timestamp() / counters.span)
    told = [client.pending() for _, client in batch]
    life = int((counters.rate.window + 2 * counters.span) * 1000) + 1000
    args: list[int] = [slot - SLOTS, life]
    for pending in told:
        args += [len(pending), *(part for pair in pending.items() for part in pair)]
    answers = await _ADD.run([f"{prefix}{name}" for name, _ in batch], *args)
    for (_, client), pending, flat in zip(batch, told, answers, strict=True):
        counters.heard(client, dict(zip(flat[::2], flat[1::2], strict=True)), pending)
