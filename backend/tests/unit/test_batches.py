"""Threads that tell several results at once: each goes to who asked for it, and what nobody waits for is not done."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.core import batches
from app.core.batches import Batches


def double(number: int) -> int:
    if number % 7 == 3:
        raise ValueError(number)
    return 2 * number


@asynccontextmanager
async def busy(pool: Batches) -> AsyncIterator[None]:
    """What is asked for within the block waits until its end: the pool's one thread is held."""
    begun, release = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        release.wait(60)

    holding = asyncio.ensure_future(pool.run(hold))
    await asyncio.to_thread(begun.wait, 60)
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
    pool = Batches(1, "tested")
    async with busy(pool):
        waiting = await asked(pool, number)
    for one, answer in enumerate(waiting):
        if one % 7 == 3:
            with pytest.raises(ValueError, match=f"^{one}$"):
                await answer
        else:
            assert await answer == 2 * one


async def test_while_much_waits_the_loop_is_woken_once_for_four(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, told = Batches(1, "tested"), list[int]()
    tell = batches._tell
    monkeypatch.setattr(batches, "_tell", lambda pieces: (told.append(len(pieces)), tell(pieces)))
    async with busy(pool):
        waiting = await asked(pool, 12)
    await asyncio.gather(*waiting, return_exceptions=True)
    assert told == [1, 4, 4, 2, 1, 1]  # half of what waits for each thread, from 1 to 4; the first is what held it


async def test_what_was_cancelled_before_its_turn_is_not_done() -> None:
    pool, done = Batches(1, "tested"), list[int]()
    async with busy(pool):
        waiting = await asked(pool, 10, done.append)
        for one in waiting[::2]:
            one.cancel()
        await asyncio.gather(*waiting[::2], return_exceptions=True)
    await asyncio.gather(*waiting[1::2])
    assert done == [1, 3, 5, 7, 9]


def test_two_loops_share_the_threads() -> None:
    pool = Batches(2, "tested")

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(pool.run(double, 7 * one) for one in range(20)))

    found: list[list[int]] = []
    others = [threading.Thread(target=lambda: found.append(asyncio.run(all_of_them()))) for _ in range(3)]
    for one in others:
        one.start()
    for one in others:
        one.join(60)
    assert found == [[14 * one for one in range(20)]] * 3


def test_a_loop_that_has_ended_is_not_told() -> None:
    pool, release = Batches(1, "tested"), threading.Event()

    async def gone() -> None:
        left = asyncio.ensure_future(pool.run(release.wait, 60))
        await asyncio.sleep(0)
        assert not left.done()

    asyncio.run(gone())
    release.set()
    assert asyncio.run(pool.run(double, 4)) == 8
