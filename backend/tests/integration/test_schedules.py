"""Periodic tasks: each due time once, whatever the number of schedulers, by the database's clock.

Due times are moved in their table, and never waited for.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import col, delete, select, update
from structlog.testing import capture_logs

import app.worker.tasks  # noqa: F401 - registers the tasks
from app.core.db import new_session
from app.core.sql import db_now
from app.crud import task_schedule
from app.models import BackgroundTask, TaskSchedule, TaskStatus, TaskType
from app.services import tasks
from app.worker import schedules
from app.worker.schedules import SCHEDULES, Missed, Schedule, periodic
from app.worker.tracking import REGISTRY, task
from tests.fixtures import Clock
from tests.stack import Worker
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("clean")
NAME = TaskType.welcome_email
YEARLY = "0 0 1 1 *"


@pytest.fixture(autouse=True)
async def _only_ours(monkeypatch: pytest.MonkeyPatch):
    """A name that no running scheduler declares, and nothing of it afterwards."""
    monkeypatch.setattr(schedules, "SCHEDULES", {})
    yield
    async with new_session() as db:
        await db.exec(delete(TaskSchedule).where(col(TaskSchedule.name).in_((NAME, "gone", "kept"))))
        await db.commit()


def declare(expression: str = YEARLY, *, zone: str = "UTC", missed: Missed = Missed.once) -> Schedule:
    schedules.SCHEDULES[NAME] = Schedule(NAME, expression, zone, missed)
    return schedules.SCHEDULES[NAME]


async def due_at() -> datetime | None:
    async with new_session(read_only=True) as db:
        row = await db.get(TaskSchedule, NAME)
        return row.due_at if row else None


async def make_due(before: timedelta) -> None:
    """Have it been due so long before now."""
    async with new_session() as db:
        await db.exec(update(TaskSchedule).where(col(TaskSchedule.name) == NAME).values(due_at=db_now(-before)))
        await db.commit()


async def promised() -> int:
    async with new_session(read_only=True) as db:
        return len((await db.exec(select(BackgroundTask.id).where(BackgroundTask.task_type == NAME))).all())


async def database_now() -> datetime:
    async with new_session(read_only=True) as db:
        return await task_schedule.now(db)


async def test_the_first_due_time_is_the_next_one() -> None:
    schedule = declare()
    before = await database_now()
    assert await schedules.promise_due() == 0
    assert await due_at() in {schedule.next_after(before), schedule.next_after(await database_now())}
    assert await promised() == 0


async def test_six_schedulers_keep_each_of_many_due_times_once() -> None:
    declare()
    await asyncio.gather(*(schedules.promise_due() for _ in range(6)))  # on an empty table too
    for number in range(1, 21):
        await make_due(timedelta(seconds=1))
        kept = await asyncio.gather(*(schedules.promise_due() for _ in range(6)))
        assert (sum(kept), await promised()) == (1, number)
        assert (await due_at() or await database_now()) > await database_now()


@pytest.mark.parametrize("missed", [timedelta(minutes=3), timedelta(days=1200)])
async def test_what_was_missed_runs_once_on_return(missed: timedelta) -> None:
    declare()
    await schedules.promise_due()
    await make_due(missed)
    assert [await schedules.promise_due() for _ in range(3)] == [1, 0, 0]
    assert await promised() == 1


async def test_what_may_be_skipped_is_skipped_and_goes_on() -> None:
    declare(missed=Missed.skip)
    await schedules.promise_due()
    await make_due(timedelta(seconds=61))
    with capture_logs() as logs:
        assert await schedules.promise_due() == 0
    assert [line["event"] for line in logs] == ["schedule_skipped"]
    assert (await due_at() or await database_now()) > await database_now()
    await make_due(timedelta(seconds=40))
    assert await schedules.promise_due() == 1


async def test_of_many_that_may_be_skipped_the_one_of_this_minute_is_not() -> None:
    declare("* * * * *", missed=Missed.skip)
    await schedules.promise_due()
    await make_due(timedelta(hours=1))
    assert await schedules.promise_due() == 1


async def test_a_scheduler_that_dies_half_way_leaves_the_due_time_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    declare()
    await schedules.promise_due()
    await make_due(timedelta(seconds=1))
    was = await due_at()
    with monkeypatch.context() as broken, capture_logs() as logs:
        broken.setattr(tasks, "enqueue", None)
        assert await schedules.promise_due() == 0
    assert [line["event"] for line in logs] == ["schedule_failed"]
    assert (await due_at(), await promised()) == (was, 0)
    assert (await schedules.promise_due(), await promised()) == (1, 1)


async def test_the_clock_of_the_process_decides_nothing(clock: Clock) -> None:
    declare()
    await schedules.promise_due()
    clock.advance(timedelta(days=400))
    assert await schedules.promise_due() == 0
    clock.advance(timedelta(days=-800))
    await make_due(timedelta(seconds=1))
    assert await schedules.promise_due() == 1
    assert (await due_at() or await database_now()) - await database_now() <= timedelta(days=366)


async def test_another_declaration_is_due_anew() -> None:
    declare()
    await schedules.promise_due()
    new = declare("0 0 * * *", zone="Europe/Berlin")
    assert await schedules.promise_due() == 0
    assert await due_at() == new.next_after(await database_now())


async def test_a_due_time_that_has_come_is_not_lost_with_a_new_declaration() -> None:
    declare()
    await schedules.promise_due()
    await make_due(timedelta(minutes=5))
    new = declare("0 0 * * *")
    assert [await schedules.promise_due() for _ in range(2)] == [1, 0]
    assert await due_at() == new.next_after(await database_now())


async def test_what_is_declared_no_more_is_ignored_and_forgotten_after_a_day() -> None:
    async with new_session() as db:
        await task_schedule.add(db, "gone", YEARLY, await task_schedule.now(db) - timedelta(days=1, minutes=1))
        await task_schedule.add(db, "kept", YEARLY, await task_schedule.now(db) - timedelta(hours=23))
        await db.commit()
    assert await schedules.promise_due() == 0
    async with new_session(read_only=True) as db:
        assert {"gone", "kept"} & (await task_schedule.known(db)).keys() == {"kept"}


@pytest.mark.parametrize(
    ("expression", "moment", "due"),
    [
        # 2026-03-29, 02:00 to 03:00 does not exist in Berlin. A fixed time in it is due at 03:00, which is 01:00 UTC.
        ("30 2 * * *", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
        ("0,30 2 * * *", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:00"]),
        # One that follows the clock is not due in it.
        ("*/30 2 * * *", "2026-03-28T12:00", ["2026-03-30T00:00", "2026-03-30T00:30"]),
        ("0 * * * *", "2026-03-29T00:30", ["2026-03-29T01:00", "2026-03-29T02:00"]),
        # 2026-10-25, 02:00 to 03:00 comes twice: at 00:00 UTC and at 01:00 UTC. A fixed time is due the first time …
        ("30 2 * * *", "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
        # … and not again where it is computed in the second of these hours.
        ("30 2 * * *", "2026-10-25T01:15", ["2026-10-26T01:30"]),
        # One that follows the clock is due in both.
        ("*/30 2 * * *", "2026-10-24T12:00", [f"2026-10-25T{at}" for at in ("00:00", "00:30", "01:00", "01:30")]),
        ("0 * * * *", "2026-10-24T23:30", [f"2026-10-25T{at}" for at in ("00:00", "01:00", "02:00")]),
    ],
)
def test_due_times_where_berlin_sets_its_clocks(expression: str, moment: str, due: list[str]) -> None:
    schedule = Schedule(NAME, expression, "Europe/Berlin", Missed.once)
    at, found = datetime.fromisoformat(moment).replace(tzinfo=UTC), []
    for _ in due:
        at = schedule.next_after(at)
        found.append(f"{at:%Y-%m-%dT%H:%M}")
    assert found == due


@pytest.fixture
def _undeclared() -> Iterator[None]:
    """The mail of welcome gives its place to a task of the test's own."""
    tracked = REGISTRY.pop(NAME)
    yield
    REGISTRY[NAME] = tracked


@pytest.mark.usefixtures("_undeclared")
@pytest.mark.parametrize(
    ("expression", "zone", "said"),
    [
        ("61 * * * *", "UTC", "is no cron expression: Bad minute"),
        ("* * * *", "UTC", "five fields"),
        ("0 * * * * *", "UTC", "five fields"),
        ("0 0 30 2 *", "UTC", "Bad day-of-month"),
        ("0 0 */20 * 1L", "UTC", "never due"),
        (YEARLY, "Mars/Olympus", "no time zone that this machine knows"),
        (YEARLY, "../passwd", "no time zone that this machine knows"),
        (",".join(["0"] * 100) + " * * * *", "UTC", "at most 200 characters"),
    ],
)
def test_a_wrong_declaration_is_refused_where_it_stands(expression: str, zone: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):

        @periodic(expression, zone=zone)
        @task(NAME)
        async def made() -> None: ...


@pytest.mark.usefixtures("_undeclared")
def test_a_periodic_task_needs_no_arguments_and_has_one_schedule() -> None:
    @task(NAME)
    async def needs(user_id: int) -> None: ...

    with pytest.raises(ValueError, match="nobody gives it user_id"):
        periodic(YEARLY)(needs)
    del REGISTRY[NAME]

    @periodic(" 0  *  * * * ")
    @task(NAME)
    async def made(most: int = 5) -> None: ...

    assert schedules.SCHEDULES[NAME].declared == "0 * * * * UTC"
    with pytest.raises(ValueError, match="has a schedule already"):
        periodic(YEARLY)(made)


def test_the_sweep_is_declared() -> None:
    assert SCHEDULES[TaskType.sweep] == Schedule(TaskType.sweep, "*/5 * * * *", "UTC", Missed.once)


async def test_a_scheduler_and_a_worker_carry_out_what_is_due(worker: Worker) -> None:
    async with new_session() as db:
        sweep = col(TaskSchedule.name) == TaskType.sweep
        await db.exec(update(TaskSchedule).where(sweep).values(due_at=db_now(timedelta(seconds=-1))))
        await db.commit()

    async def swept() -> bool:
        async with new_session(read_only=True) as db:
            rows = (await db.exec(select(BackgroundTask).where(BackgroundTask.task_type == TaskType.sweep))).all()
        return [row.status for row in rows] == [TaskStatus.succeeded]

    try:
        await eventually(swept)
    finally:
        await worker.put_off_schedules()
