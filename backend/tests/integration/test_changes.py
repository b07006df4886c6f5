"""The feed of changes misses no row, whatever the order in which transactions commit."""

import asyncio
import random
from uuid import uuid4

import pytest

from app.core.db import aside, engine, new_session
from app.core.sql import is_sqlite
from app.crud import change
from app.crud.change import Place

pytestmark = pytest.mark.usefixtures("clean")


async def read(place: Place) -> tuple[set[str], Place]:
    async with aside() as connection:
        rows, place = await change.since(connection, place)
    assert len(rows) == len(set(rows)), "each row comes once"
    return {subject for _, subject in rows}, place


async def test_a_row_that_commits_late_is_not_missed() -> None:
    early, late = str(uuid4()), str(uuid4())
    _, place = await read(Place())
    async with new_session() as first:
        await change.record(first, change.USER, late)
        if is_sqlite(engine()):  # writers come one after another there: nothing can commit out of order
            await first.commit()
        async with new_session() as second:
            await change.record(second, change.USER, early)
            await second.commit()
        seen, place = await read(place)
        assert early in seen
        await first.commit()
    again, place = await read(place)
    assert late in seen | again
    assert (await read(place))[0] == set()


async def test_no_row_is_missed_by_a_reader_beside_many_writers() -> None:
    written: set[str] = set()
    done = asyncio.Event()

    async def write(number: int) -> None:
        chance = random.Random(number)
        for _ in range(20):
            subject = str(uuid4())
            async with new_session() as db:
                await change.record(db, change.SESSION, subject)
                if not is_sqlite(db):  # hold the transaction open, so that ids and commits come in another order
                    await asyncio.sleep(chance.uniform(0, 0.005))  # the disorder is what is tested
                await db.commit()
            written.add(subject)

    async def follow() -> set[str]:
        seen: set[str] = set()
        place = Place()
        while True:
            last = done.is_set()
            new, place = await read(place)
            assert not seen & new, "each row comes once"
            seen |= new
            if last:
                return seen

    reader = asyncio.create_task(follow())
    await asyncio.gather(*(write(number) for number in range(4)))
    done.set()
    assert written <= await reader


async def test_a_change_that_is_rolled_back_is_not_in_the_feed() -> None:
    subject = str(uuid4())
    async with new_session() as db:
        await change.record(db, change.USER, subject)
    assert subject not in (await read(Place()))[0]
