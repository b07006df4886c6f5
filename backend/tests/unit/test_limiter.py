"""The exact limits: by Redis, and by one process for itself."""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from app.core import limiter, redis
from app.core.clock import utc_now
from app.core.config import settings
from app.core.limiter import Local, Verdict
from app.core.rate import Rate

TEN = Rate(10, 60)
Take = Callable[..., Awaitable[Verdict]]


@pytest.fixture(params=["redis", "local"])
def take(request: pytest.FixtureRequest) -> Take:
    """Let one more pass, under a name of the test's own."""
    name, local = f"limit:{{test}}:{secrets.token_hex(4)}", Local()

    async def by_redis(rate: Rate = TEN, *, gap: int = 0) -> Verdict:
        return await limiter.take("test", rate, name, gap=gap, token=secrets.token_hex(4))

    async def by_process(rate: Rate = TEN, *, gap: int = 0) -> Verdict:
        return local.take("test", rate, name, gap=gap, token=secrets.token_hex(4))

    return by_redis if request.param == "redis" else by_process


async def test_no_window_holds_more_than_the_quota(take: Take, clock) -> None:
    chance, times = random.Random(7), []
    for _ in range(600):
        clock.advance(timedelta(seconds=chance.choice((0, 0, 0.5, 3, 9))))
        if not (await take()).wait:
            times.append(utc_now().timestamp())
    most = max(sum(begin <= time < begin + 60 for time in times) for begin in times)
    assert 9 <= most <= 11


async def test_who_keeps_knocking_is_let_in_on_time(take: Take, clock) -> None:
    verdicts = [await take() for _ in range(15)]
    assert [not one.wait for one in verdicts] == [True] * 10 + [False] * 5
    assert [one.remaining for one in verdicts] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0]
    assert 58 < verdicts[-1].wait <= 60
    for _ in range(59):
        clock.advance(timedelta(seconds=1))
        knocked = await take()
    assert knocked.wait
    clock.advance(timedelta(seconds=1))
    assert not (await take()).wait


async def test_past_the_quota_one_passes_each_gap(take: Take, clock) -> None:
    hour = Rate(3, 3600)
    assert [(await take(hour, gap=60)).wait > 0 for _ in range(4)] == [False, False, False, True]
    for _ in range(3):
        clock.advance(timedelta(seconds=61))
        assert [(await take(hour, gap=60)).wait > 0 for _ in range(3)] == [False, True, True]
    clock.advance(timedelta(seconds=3601))
    assert [(await take(hour, gap=60)).wait > 0 for _ in range(4)] == [False, False, False, True]


async def test_what_is_given_back_does_not_count() -> None:
    name = f"limit:{{test}}:{secrets.token_hex(4)}"
    for number in range(50):
        assert not (await limiter.take("test", TEN, name, token=str(number))).wait
        await limiter.give_back(name, str(number))


async def test_two_hundred_at_once_pass_ten() -> None:
    name = f"limit:{{test}}:{secrets.token_hex(4)}"
    asked = [limiter.take("test", TEN, name, token=str(number)) for number in range(200)]
    assert sum(not one.wait for one in await asyncio.gather(*asked)) == 10


async def test_every_key_expires() -> None:
    name = f"limit:{{test}}:{secrets.token_hex(4)}"
    for number in range(12):
        await limiter.take("test", TEN, name, token=str(number))
    assert 0 < await redis.redis_client().pttl(await redis.key(name)) <= 61_000


def test_one_process_of_several_passes_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.__dict__, "rate_limit_processes", 4)
    local = Local()
    passed = [not local.take("test", TEN, "x", gap=0, token=str(number)).wait for number in range(10)]
    assert passed == [True] * 2 + [False] * 8
    monkeypatch.setitem(settings.__dict__, "rate_limit_processes", 1000)
    assert not local.take("test", TEN, "y", gap=0, token="1").wait


def test_what_redis_let_pass_counts_for_the_process_too() -> None:
    local = Local()
    for number in range(10):
        local.note("x", TEN, str(number))
    assert local.take("test", TEN, "x", gap=0, token="more").wait > 0


def test_the_logs_of_a_process_are_bounded() -> None:
    local = Local(most=100)
    for number in range(1000):
        local.take("test", TEN, str(number), gap=0, token="")
    assert len(local._logs) == 100
