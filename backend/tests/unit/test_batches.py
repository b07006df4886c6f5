"""Threads that tell several results at once: each goes to who asked for it, and what nobody waits for is not done."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import pytest

from app.core import batches
from app.core.batches import Batches
from tests.waiting import eventually


def double(number: int) -> int:
    if number % 7 == 3:
        raise ValueError(number)
    return 2 * number


@cache
def pool_of(threads: int) -> Batches:
    """One pool for all tests: a thread that ends while coverage measures it can hang CPython 3.11 in greenlet code."""
    return Batches(threads, "tested")


@asynccontextmanager
async def busy(pool: Batches) -> AsyncIterator[None]:
    """What is asked for within the block waits until its end: the pool's one thread is held."""
    begun, release = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        release.wait(60)

    holding = asyncio.ensure_future(pool.run(hold))
    await eventually(begun.is_set)
    try:
        yield
    finally:
        release.set()
        await holding


async def asked(pool: Batches, number: int, work: Callable[[int], Any] = double) -> list[asyncio.Future[Any]]:
    """So many questions, which wait."""
    found: list[asyncio.Future[Any]] = [asyncio.ensure_future(pool.run(work, one)) for one in range(number)]
    await asyncio.sleep(0)  # each has come as far as its place in the queue
    assert len(pool._waiting) == number
    return found


@pytest.mark.parametrize("number", [1, 5, 64])
async def test_each_gets_its_own_result_or_its_own_error(number: int) -> None:
    pool = pool_of(1)
    async with busy(pool):
        waiting = await asked(pool, number)
    for one, answer in enumerate(waiting):
        if one % 7 == 3:
            with pytest.raises(ValueError, match=f"^{one}$"):
                await answer
        else:
            assert await answer == 2 * one


async def test_while_much_waits_the_loop_is_woken_once_for_four(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, told = pool_of(1), list[int]()
    tell = batches._tell
    monkeypatch.setattr(batches, "_tell", lambda pieces: (told.append(len(pieces)), tell(pieces)))
    async with busy(pool):
        waiting = await asked(pool, 12)
    await asyncio.gather(*waiting, return_exceptions=True)
    assert told == [1, 4, 4, 2, 1, 1]  # half of what waits for each thread, from 1 to 4; the first is what held it


async def test_what_is_given_to_a_thread_stands_in_no_text_of_it() -> None:
    """A loop logs the call that failed, with its arguments."""
    pool = pool_of(1)
    async with busy(pool):
        waiting = asyncio.ensure_future(pool.run(str.upper, "plum-otter-42-lantern"))
        await asyncio.sleep(0)
        assert "plum-otter" not in repr(pool._waiting)
    assert await waiting == "PLUM-OTTER-42-LANTERN"


async def test_what_was_cancelled_before_its_turn_is_not_done() -> None:
    pool, done = pool_of(1), list[int]()
    async with busy(pool):
        waiting = await asked(pool, 10, done.append)
        for one in waiting[::2]:
            one.cancel()
        await asyncio.gather(*waiting[::2], return_exceptions=True)
    await asyncio.gather(*waiting[1::2])
    assert done == [1, 3, 5, 7, 9]


def test_each_loop_is_told_what_it_asked_for() -> None:
    """Two that wait in one queue, as in a process that has had another loop before."""
    pool, one, other = pool_of(1), asyncio.new_event_loop(), asyncio.new_event_loop()
    begun, release = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        release.wait(60)

    async def ask(numbers: range) -> list[asyncio.Future[int]]:
        found = [asyncio.ensure_future(pool.run(double, 7 * number)) for number in numbers]
        await asyncio.sleep(0)
        return found

    async def together(waiting: list[asyncio.Future[int]]) -> list[int]:
        return list(await asyncio.gather(*waiting))

    try:
        held = one.create_task(pool.run(hold))
        one.run_until_complete(asyncio.sleep(0))
        assert begun.wait(60)
        first = one.run_until_complete(ask(range(10)))
        second = other.run_until_complete(ask(range(10, 20)))
        third = one.run_until_complete(ask(range(20, 30)))
        release.set()
        assert other.run_until_complete(together(second)) == [14 * number for number in range(10, 20)]
        expected = [14 * number for number in (*range(10), *range(20, 30))]
        assert one.run_until_complete(together([*first, *third])) == expected
        one.run_until_complete(held)
    finally:
        release.set()
        one.close()
        other.close()


def test_a_loop_that_has_ended_is_not_told() -> None:
    pool, release = pool_of(1), threading.Event()

    async def gone() -> None:
        left = asyncio.ensure_future(pool.run(release.wait, 60))
        await asyncio.sleep(0)
        assert not left.done()

    asyncio.run(gone())
    release.set()
    assert asyncio.run(pool.run(double, 4)) == 8
