"""The general limit, counted in the process: what one process lets pass, and several that reconcile."""

import random
import secrets
from datetime import timedelta

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from app.core import redis
from app.core.clock import utc_now
from app.core.counters import Counters
from app.core.networks import client_of, network_of
from app.core.rate import Rate, parse_rate
from app.core.reconciling import reconcile

MINUTE = Rate(100, 60)
HERE = "192.0.2.1"


def counters(processes: int = 1, rate: Rate = MINUTE, **options: int) -> Counters:
    """One process's counters, under a rule of their own, so that no other test's are found in Redis."""
    return Counters(f"test-{secrets.token_hex(4)}", rate, processes, **options)


def passed(one: Counters, requests: int, client: str = HERE) -> int:
    return sum(one.take(client).wait == 0 for _ in range(requests))


def test_no_window_holds_more_than_the_quota(clock) -> None:
    one, chance = counters(), random.Random(7)
    times = []
    for _ in range(4000):
        clock.advance(timedelta(seconds=chance.choice((0, 0, 0.01, 0.3, 1.7))))
        if not one.take(HERE).wait:
            times.append(utc_now().timestamp())
    most = max(sum(begin <= time < begin + MINUTE.window for time in times) for begin in times)
    assert MINUTE.quota * 0.9 <= most <= MINUTE.quota


def test_a_client_that_keeps_knocking_is_let_in_on_time(clock) -> None:
    one = counters()
    assert passed(one, 150) == 100
    wait = one.take(HERE).wait
    assert 59 < wait <= 61
    for _ in range(20):
        clock.advance(timedelta(seconds=wait / 20))
        last = one.take(HERE)
    assert last.wait == 0


def test_what_is_left_is_told(clock) -> None:
    one = counters()
    assert [one.take(HERE).remaining for _ in range(3)] == [99, 98, 97]
    assert 0 < one.take(HERE).reset <= 60


def test_the_table_is_bounded() -> None:
    one = counters(most=100)
    for number in range(1_000):
        one.take(f"198.51.{number // 250}.{number % 250}")
    assert len(one.clients) == 100
    assert len(one.waiting) <= 100


def test_a_clock_that_is_put_back_locks_nobody_out(clock) -> None:
    one = counters()
    clock.advance(timedelta(hours=1))
    assert passed(one, 150) == 100
    clock.advance(timedelta(hours=-1))
    assert passed(one, 150) == 100


async def several(rule: Counters, number: int) -> list[Counters]:
    return [Counters(rule.rule, rule.rate, number) for _ in range(number)]


@pytest.mark.parametrize("used", [1, 2, 4])
async def test_four_processes_together_pass_the_quota(used: int) -> None:
    """However a client's requests are spread over them, and although the others hear of it when it comes to them."""
    four = await several(counters(), 4)
    total = 0
    for request in range(800):
        one = four[request % used if request < 400 else request % 4]
        total += passed(one, 3)  # as many come while Redis is asked
        if one.hurry.is_set():
            one.hurry.clear()
            await reconcile(one)
    assert 80 <= total <= 120


async def test_before_they_hear_of_each_other_they_pass_their_shares() -> None:
    four = await several(counters(), 4)
    assert 80 <= sum([passed(one, 200) for one in four]) <= 120


async def test_a_process_that_is_cut_off_keeps_to_its_share(clock) -> None:
    one = counters(4)
    one.cut_off = True
    assert passed(one, 200) == 25
    clock.advance(timedelta(seconds=62))
    assert passed(one, 200) == 25


async def test_a_redis_that_was_emptied_makes_nobody_forget(clock) -> None:
    one = counters()
    assert passed(one, 60) == 60
    await reconcile(one)
    await redis.redis_client().delete(await redis.key(f"limit:{{{one.rule}}}:{HERE}"))
    assert passed(one, 1) == 1
    await reconcile(one)
    assert passed(one, 100) == 39


async def test_a_client_that_fell_out_of_the_table_is_remembered_by_redis() -> None:
    one = counters(most=2)
    assert passed(one, 90) == 90
    await reconcile(one)
    for other in ("198.51.100.1", "198.51.100.2"):
        one.take(other)
    assert one.take(HERE).wait == 0
    await reconcile(one)
    assert passed(one, 100) == 9


async def test_every_key_expires() -> None:
    one = counters()
    one.take(HERE)
    await reconcile(one)
    life = await redis.redis_client().pttl(await redis.key(f"limit:{{{one.rule}}}:{HERE}"))
    assert 0 < life <= 64_000


async def test_what_could_not_be_told_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = await several(counters(), 2)
    assert passed(first, 30) == 30
    with monkeypatch.context() as away:
        away.setattr(redis.settings.__class__, "embedded", lambda *_: "")
        away.setitem(redis.settings.__dict__, "redis_url", "")
        with pytest.raises((RedisConnectionError, OSError)):
            await reconcile(first)
    await reconcile(first)
    second.take(HERE)
    await reconcile(second)
    assert second.clients[HERE].total == 31


@pytest.mark.parametrize(
    ("address", "client", "network"),
    [
        ("192.0.2.77", "192.0.2.77/32", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        (None, "none", "none"),
        ("testclient", "testclient", "testclient"),
    ],
)
def test_addresses_that_count_as_one(address: str | None, client: str, network: str) -> None:
    assert (client_of(address), network_of(address)) == (client, network)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10/minute", (10, 60)), (" 3 / Hour ", (3, 3600)), ("1/second", (1, 1)), ("9/day", (9, 86400)), ("false", None)],
)
def test_a_rate_is_read(text: str, rate: tuple[int, int] | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "10", "0/minute", "-1/minute", "10/week", "10 per minute", "1e3/minute", "true"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be like"):
        parse_rate(text)
