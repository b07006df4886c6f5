"""One run of a task: its time limit, being asked to stop, losing its lease, what it says of itself, and its end."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import pytest
import structlog
from sqlalchemy.exc import DBAPIError
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession
from structlog.testing import capture_logs

from app.core.config import settings
from app.core.db import build_engine, new_session
from app.core.sql import db_now
from app.crud import task as rows
from app.models import BackgroundTask, TaskStatus, TaskType
from app.services import tasks
from app.services.payload import PayloadRefused
from app.worker import holding, runtime
from app.worker.context import TaskContext, current_task, transaction
from app.worker.holding import Holder
from app.worker.tracking import HIDDEN, REGISTRY, shown, task
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("clean")
KIND = cast("TaskType", "tested")
QUICKLY = timedelta(seconds=0.2)


@contextmanager
def carried_out_by(function: Callable[..., Awaitable[Any]], **declared: Any) -> Iterator[None]:
    """A type of task of the test's own."""
    task(KIND, **declared)(function)
    try:
        yield
    finally:
        del REGISTRY[KIND]


async def promise(number: int = 1, /, **arguments: Any) -> list[UUID]:
    """Tasks that have been rung."""
    async with new_session() as db:
        made = [(await tasks.enqueue(db, KIND, **arguments)).id for _ in range(number)]
        rung = {"status": TaskStatus.queued, "queue": "elsewhere"}  # no relay that runs beside takes what is given back
        await db.exec(update(BackgroundTask).where(col(BackgroundTask.id).in_(made)).values(**rung))
        await db.commit()
    return made


async def row(task_id: UUID) -> BackgroundTask:
    async with new_session(read_only=True) as db:
        found = await rows.get(db, task_id)
    assert found is not None
    return found


async def change(task_id: UUID, **values: Any) -> None:
    async with new_session() as db:
        await db.exec(update(BackgroundTask).where(col(BackgroundTask.id) == task_id).values(**values))
        await db.commit()


@asynccontextmanager
async def holder() -> AsyncIterator[Holder]:
    held = Holder()
    try:
        yield held
    finally:
        held.pulse.stop()
        await asyncio.to_thread(held.pulse.join)


async def carry_out(*ids: UUID) -> None:
    async with holder() as held:
        await runtime.carry_out(KIND, ids, held)


@pytest.fixture
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "LOOK_EVERY", 0.05)


async def test_a_task_that_never_awaits_ends_at_its_limit() -> None:
    async def spin() -> None:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            pass

    with carried_out_by(spin, timeout=QUICKLY):
        (task_id,) = await promise()
        await carry_out(task_id)
    ended = await row(task_id)
    assert (ended.status, ended.error_code) == (TaskStatus.failed, "timed_out")


async def test_a_task_that_swallows_its_cancellation_ends_at_the_next() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    with carried_out_by(stubborn, timeout=QUICKLY):
        (task_id,) = await promise()
        await carry_out(task_id)
    assert (await row(task_id)).error_code == "timed_out"


async def test_a_limit_leaves_another_timer_running() -> None:
    async def quick() -> None:
        return None

    before, _ = signal.getitimer(signal.ITIMER_REAL)
    with carried_out_by(quick):
        await carry_out(*await promise(3))
    after, _ = signal.getitimer(signal.ITIMER_REAL)
    assert (before > 0) == (after > 0)
    assert after <= before


@pytest.mark.usefixtures("_look_often")
async def test_a_running_task_is_asked_to_stop_and_does() -> None:
    begun, heard = asyncio.Event(), []

    async def waits(ctx: TaskContext) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            heard.append(ctx.cancelled())

    with carried_out_by(waits):
        (task_id,) = await promise()
        run = asyncio.create_task(carry_out(task_id))
        await begun.wait()
        async with new_session() as db:
            asked = await tasks.cancel(db, task_id, owner=None)
            await db.commit()
        assert asked.status == TaskStatus.running
        await run
    ended = await row(task_id)
    assert (ended.status, heard) == (TaskStatus.cancelled, [True])
    assert ended.completed_at is not None


@pytest.mark.usefixtures("_look_often")
async def test_a_task_that_only_computes_hears_that_it_is_to_stop() -> None:
    async def computes(ctx: TaskContext) -> dict[str, Any]:
        with ThreadPoolExecutor(1) as elsewhere:  # this loop is busy
            asked = elsewhere.submit(asyncio.run, ask(ctx.task_id))
            while not ctx.cancelled():
                pass
            asked.result()
        return {"half": "done"}

    async def ask(task_id: UUID) -> None:
        engine = build_engine(settings.database_url, pool_size=1)
        async with AsyncSession(engine) as db:
            await tasks.cancel(db, task_id, owner=None)
            await db.commit()
        await engine.dispose()

    with carried_out_by(computes):
        (task_id,) = await promise()
        await carry_out(task_id)
    ended = await row(task_id)
    assert (ended.status, ended.result) == (TaskStatus.cancelled, None)


@pytest.mark.usefixtures("_look_often")
async def test_a_task_whose_lease_another_took_stops_and_settles_nothing() -> None:
    begun = asyncio.Event()

    async def waits() -> None:
        begun.set()
        await asyncio.Event().wait()

    with carried_out_by(waits), capture_logs() as logs:
        (task_id,) = await promise()
        run = asyncio.create_task(carry_out(task_id))
        await begun.wait()
        await change(task_id, attempts=2)
        await asyncio.wait_for(run, 20)
    assert (await row(task_id)).status == TaskStatus.running
    assert [line["task_id"] for line in logs if line["event"] == "lease_lost"] == [str(task_id)]


async def test_what_winds_down_is_given_back_and_not_counted() -> None:
    begun = asyncio.Event()

    async def waits() -> None:
        begun.set()
        await asyncio.Event().wait()

    with carried_out_by(waits):
        first, second = await promise(2)
        async with holder() as held:
            run = asyncio.create_task(runtime.carry_out(KIND, [first, second], held))
            await begun.wait()
            held.wind_down()
            await run
    for task_id in (first, second):
        back = await row(task_id)
        assert (back.status, back.attempts, back.lease_until) == (TaskStatus.pending, 0, None)


@pytest.mark.usefixtures("_look_often")
async def test_what_waits_behind_a_task_that_takes_longer_goes_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, ran = asyncio.Event(), asyncio.Event(), []

    async def third_is_slow() -> None:
        ran.append(current_task.get())
        if len(ran) == 3:
            begun.set()
            await go_on.wait()

    monkeypatch.setattr(runtime.PACE, "at_once", lambda _: 5)
    with carried_out_by(third_is_slow):
        ids = await promise(5)
        run = asyncio.create_task(carry_out(*ids))
        await begun.wait()

        async def states() -> list[str]:
            return [(await row(task_id)).status for task_id in ids]

        async def settled() -> bool:
            return await states() == ["succeeded", "succeeded", "running", "pending", "pending"]

        await eventually(settled)
        go_on.set()
        await run
    assert ran == ids[:3]
    assert await states() == ["succeeded", "succeeded", "succeeded", "pending", "pending"]
    assert (await row(ids[4])).attempts == 0


async def test_many_quick_ones_share_their_claims_and_settlings(monkeypatch: pytest.MonkeyPatch) -> None:
    async def quick() -> None:
        return None

    claims = []
    claim = runtime.task_run.claim

    async def counted(db: Any, ids: Any, **options: Any) -> Any:
        claims.append(len(ids))
        return await claim(db, ids, **options)

    monkeypatch.setattr(runtime.task_run, "claim", counted)
    with carried_out_by(quick):
        ids = await promise(40)
        await carry_out(*ids)
    assert {(await row(task_id)).status for task_id in ids} == {TaskStatus.succeeded}
    assert sum(claims) == 40
    assert len(claims) < 20


async def test_progress_is_stored_and_the_last_of_many_reports_is_not_lost() -> None:
    seen = []

    async def tells(ctx: TaskContext) -> dict[str, Any]:
        await ctx.progress(0.25, "a quarter")
        found = await row(ctx.task_id)
        seen.append((found.progress, found.message, found.revision))
        for step in range(26, 50):
            await ctx.progress(step / 100)
        with pytest.raises(ValueError, match="from 0 to 1"):
            await ctx.progress(2)

        async def caught_up() -> bool:
            return (await row(ctx.task_id)).progress == 0.49

        await eventually(caught_up)
        return {"done": ctx.attempt}

    with carried_out_by(tells):
        (task_id,) = await promise()
        await carry_out(task_id)
    ended = await row(task_id)
    assert seen == [(0.25, "a quarter", 3)]
    assert (ended.progress, ended.result, ended.status) == (1.0, {"done": 1}, TaskStatus.succeeded)


async def test_what_a_task_logs_carries_its_id_and_no_other() -> None:
    log = structlog.get_logger()
    bound: list[tuple[UUID, str]] = []

    async def logs() -> None:
        bound.append((current_task.get(), structlog.contextvars.get_contextvars()["task_id"]))
        log.info("task_spoke")

    with carried_out_by(logs):
        ids = await promise(3)
        await carry_out(*ids)
    assert bound == [(task_id, str(task_id)) for task_id in ids]
    assert "task_id" not in structlog.contextvars.get_contextvars()


async def test_a_task_that_promises_another_wakes_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    woken = []

    async def wake(**_: Any) -> None:
        woken.append(True)

    monkeypatch.setattr(tasks, "wake_relay", wake)

    async def promises() -> None:
        async with transaction() as db:
            await tasks.enqueue(db, TaskType.welcome_email, user_id="x")

    with carried_out_by(promises):
        (task_id,) = await promise()
        await carry_out(task_id)
    assert woken == [True]
    async with new_session(read_only=True) as db:
        made = (await db.exec(select(BackgroundTask).where(BackgroundTask.task_type == "welcome_email"))).all()
    assert [one.status for one in made] == [TaskStatus.pending]


async def test_an_error_may_say_what_its_owner_is_to_read() -> None:
    class MailRefused(Exception):
        code = "mail_refused"

    async def refused() -> None:
        raise MailRefused("550 5.1.1")

    with carried_out_by(refused):
        (task_id,) = await promise()
        await carry_out(task_id)
    ended = await row(task_id)
    assert (ended.error_code, ended.error_detail) == ("mail_refused", "550 5.1.1")


async def test_a_database_that_is_away_fails_no_task() -> None:
    async def unlucky() -> None:
        raise DBAPIError("SELECT 1", None, OSError(), connection_invalidated=True)

    with carried_out_by(unlucky):
        (task_id,) = await promise()
        await carry_out(task_id)
    back = await row(task_id)
    assert (back.status, back.error_code) == (TaskStatus.pending, "DBAPIError")


async def test_who_tries_again_by_hand_gives_as_many_attempts_as_declared() -> None:
    async def failing() -> None:
        raise OSError

    with carried_out_by(failing, retry_on=(OSError,), max_attempts=2):
        (task_id,) = await promise()
        for _ in range(2):
            await change(task_id, status=TaskStatus.queued)
            await carry_out(task_id)
        assert (await row(task_id)).status == TaskStatus.failed
        async with new_session() as db:
            again = await tasks.retry(db, task_id, owner=None)
            await db.commit()
        assert (again.status, again.attempts, again.error_code) == (TaskStatus.pending, 2, None)
        await change(task_id, status=TaskStatus.queued)
        await carry_out(task_id)
    back = await row(task_id)
    assert (back.status, back.attempts, back.max_attempts) == (TaskStatus.pending, 3, 4)


async def test_one_that_was_asked_to_stop_is_not_tried_again() -> None:
    async def failing(ctx: TaskContext) -> None:
        await change(ctx.task_id, cancel_requested=True)
        raise OSError

    with carried_out_by(failing, retry_on=(OSError,)):
        (task_id,) = await promise()
        await carry_out(task_id)
    ended = await row(task_id)
    assert ended.status == TaskStatus.cancelled
    assert ended.completed_at is not None


# --- promising ---


async def test_of_a_key_one_task_is_alive() -> None:
    async def ask() -> UUID:
        async with new_session() as db:
            made = await tasks.enqueue(db, TaskType.welcome_email, user_id="x", dedupe_key="one")
            await db.commit()
            return made.id

    first = await ask()
    assert set(await asyncio.gather(*(ask() for _ in range(5)))) == {first}
    await change(first, status=TaskStatus.failed, completed_at=db_now())
    second = await ask()
    assert second != first
    async with new_session() as db:
        with pytest.raises(Exception, match="cannot be tried again"):
            await tasks.retry(db, first, owner=None)


NESTED: Any = []
for _ in range(40):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (object(), "no JSON"),
        (float("nan"), "no JSON"),
        ("half \ud800", "no JSON"),
        ("nul \0", "NUL"),
        ({"deep": NESTED}, "deeper than 32"),
        ("x" * 70_000, "65536 at most"),
        ({1, 2}, "no JSON"),
    ],
)
async def test_arguments_that_cannot_be_kept_are_refused_at_once(value: Any, why: str) -> None:
    async with new_session() as db:
        with pytest.raises(PayloadRefused, match=why):
            await tasks.enqueue(db, TaskType.welcome_email, given=value)


async def test_arguments_come_back_as_they_were_given() -> None:
    given = {"text": "a \\u0000 that is none, ö, \U0001f600", "list": [1, 2.5, None, True, {"x": []}]}
    async with new_session() as db:
        made = await tasks.enqueue(db, TaskType.welcome_email, **given)
        await db.commit()
    assert (await row(made.id)).task_data == given


@pytest.mark.parametrize("wrong", [{"queue": "none"}, {"priority": 10}, {"priority": -1}, {"dedupe_key": ""}])
async def test_what_is_asked_of_the_row_is_checked(wrong: dict[str, Any]) -> None:
    async with new_session() as db:
        with pytest.raises(ValueError, match=r"queue|priority|dedupe_key"):
            await tasks.enqueue(db, TaskType.welcome_email, **wrong)


# --- declaring ---


def test_a_declaration_that_cannot_work_is_refused() -> None:
    async def takes_a_queue(queue: str) -> None: ...
    async def plain(number: int) -> None: ...

    with pytest.raises(ValueError, match="`enqueue` takes queue"):
        task(KIND)(takes_a_queue)
    with pytest.raises(ValueError, match="no parameter secret"):
        task(KIND, sensitive=["secret"])(plain)
    assert KIND not in REGISTRY


def test_sensitive_arguments_are_shown_to_nobody() -> None:
    async def takes(code: str, number: int) -> None: ...

    with carried_out_by(takes, sensitive=["code"]):
        assert shown(KIND, {"code": "4711", "number": 1}) == {"code": HIDDEN, "number": 1}
    assert shown(KIND, {"code": "4711", "number": 1}) == {"code": HIDDEN, "number": HIDDEN}
