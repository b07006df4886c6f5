"""Whether this process can serve: what it cannot do without makes it unhealthy, what it can makes it degraded."""

import ast
import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache
from pathlib import Path
from time import perf_counter

import structlog

from app import __version__
from app.core.clock import utc_now
from app.core.config import settings
from app.core.db import new_session
from app.core.redis import redis_client
from app.crud import health as questions
from app.crud import heartbeat, task_waiting
from app.schemas.health import Check, Checks, Readiness, State
from app.services import dynamic_config

TIME_LIMIT = 2.0  # seconds for one check
MIGRATIONS = Path(__file__).resolve().parents[2] / "alembic"
WORKER = "worker"

_draining = False
_unfinished: set[asyncio.Task[State]] = set()
log = structlog.get_logger()


def draining(now: bool) -> None:
    """Say whether this process is about to stop, so that no new requests are sent to it."""
    global _draining
    _draining = now


async def readiness() -> Readiness:
    """All checks at once; together they take as long as the slowest, which is at most 2 s."""
    database, redis, worker, migrations, config = await asyncio.gather(
        _check("database", _database, State.unhealthy),
        _check("redis", _redis, State.degraded),
        _check("worker", _worker, State.degraded),
        _check("migrations", _migrations, State.unhealthy),
        _check("config", _config, State.degraded),
    )
    checks = Checks(database=database, redis=redis, worker=worker, migrations=migrations, config=config)
    states = {check.status for check in (database, redis, worker, migrations, config)}
    worst = next((state for state in (State.unhealthy, State.degraded) if state in states), State.healthy)
    return Readiness(
        status=State.unhealthy if _draining else worst, timestamp=utc_now(), version=__version__, checks=checks
    )


async def _check(part: str, ask: Callable[[], Awaitable[State]], otherwise: State) -> Check:
    """The state that `ask` finds; `otherwise` when it fails or gives no answer in time."""
    began = perf_counter()
    task = asyncio.ensure_future(ask())
    done, _ = await asyncio.wait({task}, timeout=TIME_LIMIT)
    seconds = perf_counter() - began
    error: str | None
    if done:
        failed = task.exception()
        state, error = (otherwise, type(failed).__name__) if failed else (task.result(), None)
    else:
        # Not waited for: closing a connection to a server that does not answer takes as long as asking it.
        task.cancel()
        _unfinished.add(task)
        task.add_done_callback(_forget)
        state, error = otherwise, "no answer in time"
    if error:
        log.warning("health_check_failed", part=part, error=error)
    return Check(status=state, latency_ms=round(seconds * 1000, 2))


def _forget(task: asyncio.Task[State]) -> None:
    _unfinished.discard(task)
    if not task.cancelled():
        task.exception()  # looked at, so that nobody warns of it


async def _database() -> State:
    async with new_session(read_only=True) as db:
        await questions.ping(db)
    return State.healthy


async def _redis() -> State:
    await redis_client().ping()
    return State.healthy


async def _worker() -> State:
    """A worker lives, and what is due does not wait in vain: one that hears no message lives too."""
    async with new_session(read_only=True) as db:
        works = await heartbeat.alive(db, WORKER) and not await task_waiting.stands_still(db, settings.task_queues)
        return State.healthy if works else State.degraded


async def _config() -> State:
    """What was set last is known here; else the values known last are served."""
    await dynamic_config.fresh()
    return State.healthy if dynamic_config.is_known() else State.degraded


async def _migrations() -> State:
    async with new_session(read_only=True) as db:
        found = await questions.revision(db)
    head, known = _revisions()
    if found == head:
        return State.healthy
    ahead = found is not None and found not in known
    return State.degraded if ahead else State.unhealthy


@lru_cache(maxsize=1)
def _revisions() -> tuple[str | None, frozenset[str]]:
    """The newest revision that this code ships, and all of them. Alembic, which knows too, takes 60 ms to load."""
    said: dict[str, set[str]] = {"revision": set(), "down_revision": set()}
    for script in MIGRATIONS.glob("versions/*.py"):
        for line in ast.parse(script.read_bytes()).body:
            if isinstance(line, ast.Assign | ast.AnnAssign) and line.value is not None:
                target = line.target if isinstance(line, ast.AnnAssign) else line.targets[0]
                given = [one.value for one in ast.walk(line.value) if isinstance(one, ast.Constant)]
                said.get(getattr(target, "id", ""), set()).update(one for one in given if isinstance(one, str))
    known = said["revision"]
    return next(iter(known - said["down_revision"]), None), frozenset(known)
