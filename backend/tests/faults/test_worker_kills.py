"""`kill -9` of the whole worker, on and on, while it works off a queue: nothing is lost, and nothing is left lying."""

import time
from collections import Counter
from functools import partial

import pytest
from sqlmodel import func, select

from app.models import BackgroundTask, TaskStatus
from tests.databases import own_database
from tests.faults import counting
from tests.faults.conftest import Start
from tests.faults.recorder import session
from tests.faults.stack import Role, rounds
from tests.services import Services
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(3600)
LEASE, PROMISED = 30, 60  # seconds: how long a dead worker holds a task, and until all are done after that
CONCURRENCY = 2


async def test_no_task_is_lost_and_each_has_its_effect_once(services: Services, start: Start) -> None:
    number, kills = rounds(20_000, 150), rounds(25, 2)
    database = own_database(services, "counts")
    async with session(database, read_only=False) as db:
        await counting.prepare(db)
        promised = await counting.promise(db, number)

    async def states() -> Counter[str]:
        async with session(database) as db:
            rows = select(BackgroundTask.status, func.count()).group_by(BackgroundTask.status)
            return Counter(dict((await db.exec(rows)).all()))

    async def done(most: int) -> bool:
        return (await states())[TaskStatus.succeeded] >= most

    roles = {name: Role(name, main=counting.MAIN) for name in ("worker", "scheduler")}
    stack = await start(roles, DATABASE_URL=database, LOG_LEVEL="INFO")
    began = time.monotonic()
    for kill in range(1, kills + 1):
        await eventually(partial(done, number * kill // (kills + 1)), within=300)
        stack.kill("worker")
    last = time.monotonic()
    try:
        await eventually(partial(done, number), within=LEASE + PROMISED)
    except AssertionError as error:
        error.add_note(f"{await states()}\n{stack.report()}")
        raise
    ended = time.monotonic()
    async with session(database) as db:
        starts, effects = await counting.counted(db, "starts"), await counting.counted(db, "effects")
    again = len(starts) - number
    print(
        f"kills={stack.kills} tasks={number} in {ended - began:.0f} s, started again={again}, "
        f"all done {ended - last:.0f} s after the last kill"
    )
    assert sorted(effects) == sorted(promised)
    assert again <= kills * CONCURRENCY, Counter(starts).most_common(5)
