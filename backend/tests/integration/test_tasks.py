"""The rows behind the tasks: promised with the change, rung once, claimed once, settled by their own attempt."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlmodel import col, func, select, update

from app.core.config import settings
from app.core.db import new_session
from app.core.sql import db_now
from app.crud import task as promised
from app.crud import task_queue, task_ring
from app.crud import task_run as rows
from app.crud.task_run import Claimed
from app.models import BackgroundTask, TaskStatus, TaskType
from app.services import tasks
from app.worker import relay, running, runtime
from app.worker.holding import Holder
from app.worker.tracking import REGISTRY, EnqueueInstead, task
from tests.factories import ago, make_task

pytestmark = pytest.mark.usefixtures("clean")
LONG_AGO = timedelta(seconds=-1)


async def promise(**values: object) -> UUID:
    async with new_session() as db:
        made = await tasks.enqueue(db, TaskType.welcome_email, user_id="00000000-0000-7000-8000-000000000000")
        for name, value in values.items():
            setattr(made, name, value)
        await db.commit()
        return made.id


async def row(task_id: UUID) -> BackgroundTask:
    async with new_session(read_only=True) as db:
        found = await promised.get(db, task_id)
        assert found is not None
        return found


async def ring(most: int = 10) -> list[UUID]:
    """Ring what is due."""
    async with new_session() as db:
        taken = [
            one
            for queue, priority in await task_ring.due_places(db, ("default",))
            for one in await task_ring.ring_due(db, queue, priority, most=most)
        ]
        await db.commit()
        return [one.id for one in taken]


async def ring_again() -> list[UUID]:
    """Ring what was rung or claimed and whose lease ran out."""
    async with new_session() as db:
        taken = await task_ring.ring_lapsed(db, most=10)
        await db.commit()
        return [one.id for one in taken]


async def claim(task_id: UUID) -> Claimed | None:
    async with new_session() as db:
        claimed = await rows.claim(db, [task_id], max_attempts=3)
        await db.commit()
        return claimed[0] if claimed else None


async def run(task_id: UUID) -> None:
    """Carry the row out as a worker does, in this process."""
    holder = Holder()
    await runtime.carry_out((await row(task_id)).task_type, [task_id], holder)
    holder.pulse.stop()


async def let_lease_lapse(task_id: UUID) -> None:
    async with new_session() as db:
        await db.exec(
            update(BackgroundTask).where(col(BackgroundTask.id) == task_id).values(lease_until=db_now(LONG_AGO))
        )
        await db.commit()


async def test_a_rollback_leaves_no_task() -> None:
    async with new_session() as db:
        await tasks.enqueue(db, TaskType.welcome_email, user_id="x")
    async with new_session(read_only=True) as db:
        assert (await db.exec(select(func.count()).select_from(BackgroundTask))).one() == 0


async def test_six_relays_at_once_ring_each_row_once() -> None:
    promised = {await promise() for _ in range(12)}
    rung = [task_id for one in await asyncio.gather(*(ring(5) for _ in range(6))) for task_id in one]
    rung += await ring(100)
    assert sorted(rung) == sorted(promised)


async def test_what_a_dead_worker_held_waits_while_its_queue_is_paused() -> None:
    """And is not rung each time its lease runs out, for workers to refuse."""
    task_id = await promise()
    await ring()
    assert await claim(task_id)
    async with new_session() as db:
        assert await task_queue.pause(db, "default")
        await db.commit()
    await let_lease_lapse(task_id)
    assert await relay.rescue() == 0
    waiting = await row(task_id)
    assert (waiting.status, waiting.lease_until, waiting.attempts) == (TaskStatus.pending, None, 1)
    assert await ring() == []
    async with new_session() as db:
        assert await task_queue.resume(db, "default")
        await db.commit()
    assert await ring() == [task_id]


async def test_a_task_is_not_rung_before_it_is_due() -> None:
    task_id = await promise(run_at=db_now(timedelta(hours=1)))
    assert await ring() == []
    assert (await row(task_id)).status == TaskStatus.pending


async def test_urgent_tasks_are_rung_first() -> None:
    usual, urgent = await promise(priority=5), await promise(priority=0)
    assert await ring() == [urgent, usual]


async def test_of_ten_claims_one_wins() -> None:
    task_id = await promise()
    await ring()
    won = [claimed for claimed in await asyncio.gather(*(claim(task_id) for _ in range(10))) if claimed]
    assert [claimed.attempt for claimed in won] == [1]
    assert (await row(task_id)).status == TaskStatus.running


async def test_a_lost_message_is_rung_again_and_runs_once() -> None:
    task_id = await promise()
    assert await ring() == [task_id]
    assert await ring() == []
    await let_lease_lapse(task_id)
    assert await ring_again() == [task_id]
    assert await claim(task_id) is not None
    assert await claim(task_id) is None


async def test_a_worker_that_slept_past_its_lease_cannot_overwrite() -> None:
    task_id = await promise()
    await ring()
    first = await claim(task_id)
    assert first is not None
    await let_lease_lapse(task_id)
    await ring_again()
    second = await claim(task_id)
    assert second is not None
    async with new_session() as db:
        assert not await rows.renew(db, [(task_id, first.attempt)])
        assert not await rows.fail(db, task_id, first.attempt, "late", "late")
        assert await rows.succeed(db, [(task_id, first.attempt)]) == []
        assert await rows.succeed(db, [(task_id, second.attempt)]) == [task_id]
        await db.commit()
    assert (await row(task_id)).status == TaskStatus.succeeded


async def test_a_task_whose_worker_dies_each_time_is_parked() -> None:
    task_id = await promise()
    await ring()
    for _ in range(3):
        assert await claim(task_id)
        await let_lease_lapse(task_id)
        if (await row(task_id)).attempts < 3:
            await ring_again()
    async with new_session() as db:
        assert await task_ring.give_up(db) == [task_id]
        await db.commit()
    parked = await row(task_id)
    assert (parked.status, parked.error_code, parked.attempts) == (TaskStatus.failed, "worker_lost", 3)
    assert await ring() == await ring_again() == []


async def test_the_relay_rings_no_more_than_its_setting_ahead() -> None:
    for _ in range(3):
        await promise()
    async with new_session() as db:
        for _ in range(settings.relay_ahead):
            db.add(
                BackgroundTask(
                    task_type=TaskType.welcome_email, status=TaskStatus.queued, lease_until=db_now(timedelta(hours=1))
                )
            )
        await db.commit()
    rung, _ = await relay.ring_due()
    assert rung == 0


async def test_a_payload_that_does_not_fit_fails_loudly_and_is_kept() -> None:
    task_id = await promise(task_data={"user_id": "no uuid", "other": 1})
    await ring()
    await run(task_id)
    failed = await row(task_id)
    assert (failed.status, failed.error_code) == (TaskStatus.failed, "payload_invalid")
    assert "user_id" in (failed.error_detail or "")
    assert failed.task_data == {"user_id": "no uuid", "other": 1}


async def test_a_task_that_may_be_tried_again_goes_back_with_a_delay() -> None:
    task_id = await promise()
    await ring()
    claimed = await claim(task_id)
    assert claimed is not None
    async with new_session() as db:
        assert await rows.retry_later(db, task_id, claimed.attempt, timedelta(hours=1), "SMTPConnectError", "later")
        await db.commit()
    waiting = await row(task_id)
    assert (waiting.status, waiting.attempts, waiting.error_code) == (TaskStatus.pending, 1, "SMTPConnectError")
    assert await ring() == []


async def test_a_message_that_comes_twice_runs_once() -> None:
    task_id = await promise(task_data={"user_id": "no uuid"})
    await ring()
    await run(task_id)
    before = await row(task_id)
    await run(task_id)
    assert await row(task_id) == before


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (ConnectionResetError, TaskStatus.pending, "ConnectionResetError"),
        (KeyError, TaskStatus.failed, "KeyError"),
        (TimeoutError, TaskStatus.pending, "timed_out"),
    ],
)
async def test_what_may_pass_is_tried_again_and_the_rest_fails(
    monkeypatch: pytest.MonkeyPatch, raised: type[Exception], status: str, code: str
) -> None:
    async def failing(user_id: UUID) -> None:
        raise raised("not now")

    known = REGISTRY[TaskType.welcome_email]
    monkeypatch.setitem(REGISTRY, TaskType.welcome_email, replace(known, function=failing))
    task_id = await promise()
    await ring()
    await run(task_id)
    found = await row(task_id)
    assert (found.status, found.error_code, found.attempts) == (status, code, 1)


async def test_a_task_that_may_not_be_tried_again_any_more_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(user_id: UUID) -> None:
        raise OSError("never")

    known = REGISTRY[TaskType.welcome_email]
    monkeypatch.setitem(REGISTRY, TaskType.welcome_email, replace(known, function=failing, max_attempts=1))
    task_id = await promise()
    await ring()
    await run(task_id)
    found = await row(task_id)
    assert (found.status, found.error_code) == (TaskStatus.failed, "OSError")


async def test_tasks_stay_as_long_as_the_settings_say() -> None:
    """30 days those that ended well or were cancelled, 90 those that failed, for ever those that are alive."""
    async with new_session() as db:
        gone = [
            await make_task(db, status=state, completed_at=ago(days=days))
            for state, days in (("succeeded", 31), ("cancelled", 31), ("failed", 91))
        ]
        stay = [
            await make_task(db, status=state, completed_at=ended, created_at=ago(days=400))
            for state, ended in (
                ("succeeded", ago(days=29)), ("cancelled", ago(days=29)), ("failed", ago(days=89)),
                ("pending", None), ("queued", None), ("running", None),
            )
        ]  # fmt: skip
        finished, failed = timedelta(days=settings.tasks_kept_days), timedelta(days=settings.failed_tasks_kept_days)
        assert await promised.purge(db, finished=finished, failed=failed) == len(gone)
        await db.commit()
        assert set((await db.exec(select(BackgroundTask.id))).all()) == {task.id for task in stay}


@pytest.mark.parametrize("attempt", range(1, 20))
def test_the_delay_grows_and_is_bounded(attempt: int) -> None:
    assert 0 <= running.retry_delay(attempt).total_seconds() <= min(300, 2**attempt)


def test_delay_is_refused_and_says_what_to_write() -> None:
    from app.worker.celery import celery_app

    for call in (
        REGISTRY[TaskType.verify_email].delay,
        celery_app.tasks["neoforge.verify_email"].delay,
        celery_app.tasks["neoforge.verify_email"].apply_async,
    ):
        with pytest.raises(EnqueueInstead, match=r"tasks\.enqueue\(db, TaskType\.verify_email"):
            call("x")


def test_one_type_has_one_function() -> None:
    with pytest.raises(ValueError, match="already"):
        task(TaskType.verify_email)(lambda: None)  # type: ignore[arg-type,return-value] # never called
