"""Redis: always a real server, the embedded one too. What is in it may be lost at any moment, and nothing else is."""

import asyncio
import os
from collections.abc import Awaitable
from datetime import timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.core import tls
from app.core.config import settings
from app.core.db import installation_id

CONNECT_TIMEOUT = timedelta(seconds=1)
ANSWER_TIMEOUT = timedelta(seconds=1)

Unreachable = (RedisError, OSError, asyncio.TimeoutError)
"""What a call raises when Redis cannot be used. Each caller says what then happens."""


def redis_url() -> str:
    """REDIS_URL, else where `make dev` runs the embedded Valkey, else empty."""
    return settings.redis_url or settings.embedded("redis_url")


def redis_client() -> Redis | RedisCluster:
    """This process's client. It connects at the first call, and every call has a time limit.

    Raises:
        ConnectionError: no Redis is known.
    """
    url = redis_url()
    if not url:
        raise ConnectionError("REDIS_URL is not set and no embedded Valkey runs: start `make dev`")
    return _clients(os.getpid(), url)


@lru_cache(maxsize=2)
def _clients(_process: int, url: str) -> Redis | RedisCluster:
    return build_client(url)


def build_client(url: str) -> Redis | RedisCluster:
    """A client for one server, for Sentinel (`redis+sentinel://host:port,host:port/name/db`) or for a Cluster."""
    limits: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_TIMEOUT.total_seconds(),
        "socket_timeout": ANSWER_TIMEOUT.total_seconds(),
        "decode_responses": True,
    }
    scheme, _, rest = url.partition("://")
    plain = scheme.partition("+")[0]
    if scheme.endswith("+cluster"):
        return RedisCluster.from_url(f"{plain}://{rest}", **limits)
    limits["retry"] = Retry(NoBackoff(), 1)
    if not scheme.endswith("+sentinel"):
        return Redis.from_url(url, max_connections=64, **limits)
    parts = urlsplit(f"{plain}://{rest}")
    login = {"username": parts.username, "password": parts.password}
    hosts = [
        (host, int(port or 26379))
        for host, _, port in (place.rpartition("@")[2].partition(":") for place in parts.netloc.split(","))
    ]
    name, _, database = parts.path.strip("/").partition("/")
    secured = {"ssl": plain == "rediss", **tls.for_redis(url)}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py has not typed it
        hosts,
        sentinel_kwargs={"password": sentinel_password(parts), **secured, **limits},
        db=int(database or 0),
        **secured,
        **{name: unquote(value) for name, value in login.items() if value},
        **limits,
    )
    master: Redis = sentinel.master_for(name or "mymaster")
    return master


def sentinel_password(url: SplitResult) -> str | None:
    """What the Sentinels themselves ask for: `?sentinel_password=`."""
    return parse_qs(url.query).get("sentinel_password", [None])[-1]


async def close_client(client: Redis | RedisCluster) -> None:
    """Close its connections, and those to the Sentinels that it asked."""
    await client.aclose()
    asked = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for sentinel in asked.sentinels if asked else ():
        await sentinel.aclose()


_prefix = ""


async def prefix() -> str:
    """What stands before every key, queue and channel: REDIS_PREFIX, else `nf:<installation>:` from the database."""
    global _prefix
    if not _prefix:
        _prefix = settings.redis_prefix or f"nf:{await installation_id()}:"
    return _prefix


async def key(name: str) -> str:
    """The full name of one of our keys or channels."""
    return await prefix() + name


async def within(seconds: float, call: Awaitable[Any]) -> Any:
    """The answer of `call`, or None when Redis does not give one in time: for what may be lost."""
    try:
        async with asyncio.timeout(seconds):
            return await call
    except Unreachable:
        return None


async def close() -> None:
    """Close this process's connections; the next use opens new ones."""
    global _prefix
    if _clients.cache_info().currsize:
        url = redis_url()
        if url:
            await close_client(redis_client())
        _clients.cache_clear()
    _prefix = ""
