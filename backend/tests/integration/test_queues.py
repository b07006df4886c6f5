"""Queues with the real worker and relay: paused and resumed, served by some workers, and their priorities."""

from datetime import timedelta
from uuid import UUID

from app.core.sql import db_now
from app.models import BackgroundTask, TaskStatus
from tests.operating import Operator, operator, own
from tests.waiting import eventually

__all__ = ["operator", "own"]
BOTH = {"TASK_QUEUES": "default,reports"}
ENDED = ("succeeded", "failed", "cancelled")


async def test_nothing_of_a_paused_queue_starts_until_it_is_resumed(operator: Operator) -> None:
    await operator.start("scheduler", **BOTH)
    await operator.start("worker", **BOTH)
    await operator("tasks", "pause", "default")
    waits = await operator.promise()
    # A later task of the other queue has run: the relay and the worker have looked at the rows since.
    other = await operator.promise(queue="reports")
    assert (await operator.until(other, *ENDED)).status == TaskStatus.succeeded
    row = await operator.row(waits)
    assert (row.status, row.attempts, row.started_at) == (TaskStatus.pending, 0, None)
    await operator("tasks", "resume", "default")
    assert (await operator.until(waits, *ENDED)).status == TaskStatus.succeeded


async def test_what_was_rung_before_the_pause_does_not_start_either(operator: Operator) -> None:
    await operator.start("scheduler", **BOTH)
    rung = await operator.promise()
    await operator.until(rung, "queued")
    await operator("tasks", "pause", "default")
    assert (await operator.row(rung)).status == TaskStatus.pending
    worker = await operator.start("worker", **BOTH)
    await eventually(lambda: "task_messages_dropped" in worker.output())
    row = await operator.row(rung)
    assert (row.status, row.attempts, row.started_at) == (TaskStatus.pending, 0, None)
    await operator("tasks", "resume", "default")
    done = await operator.until(rung, *ENDED)
    assert (done.status, done.attempts) == (TaskStatus.succeeded, 1)


async def test_a_worker_refuses_what_a_relay_rang_while_the_queue_was_being_paused(operator: Operator) -> None:
    relay = await operator.start("scheduler", **BOTH)
    rung = await operator.promise()
    await operator.until(rung, "queued")
    relay.stop()
    await operator("tasks", "pause", "default")
    await _as_rung(operator, rung)
    worker = await operator.start("worker", **BOTH)
    await eventually(lambda: "task_messages_dropped" in worker.output())
    row = await operator.row(rung)
    assert (row.status, row.attempts, row.started_at) == (TaskStatus.queued, 0, None)


async def _as_rung(operator: Operator, task_id: UUID) -> None:
    """As a relay leaves it that looked at the paused queues before the pause, and committed after it."""
    async with operator.audit.session() as db:
        row = await db.get_one(BackgroundTask, task_id)
        row.status, row.lease_until = TaskStatus.queued, db_now(timedelta(seconds=15))
        await db.commit()


async def test_a_queue_is_served_by_the_workers_that_name_it(operator: Operator) -> None:
    await operator.start("scheduler", **BOTH)
    usual = await operator.start("worker", "--queues", "default", **BOTH)
    report = await operator.promise(queue="reports")
    await operator.until(report, "queued")
    later = await operator.promise()
    assert (await operator.until(later, *ENDED)).status == TaskStatus.succeeded
    assert (await operator.row(report)).attempts == 0
    usual.stop()
    await operator.start("worker", "--queues", "reports", **BOTH)
    waits = await operator.promise()
    await operator.until(waits, "queued")
    last = await operator.promise(queue="reports")
    for one in (report, last):
        assert (await operator.until(one, *ENDED)).status == TaskStatus.succeeded
    assert (await operator.row(waits)).attempts == 0


async def test_of_what_waited_the_urgent_starts_first(operator: Operator) -> None:
    await operator("tasks", "pause", "default")
    priorities = (9, 0, 5, 3, 7, 0, 9, 1, 5)
    promised = [await operator.promise(priority=priority) for priority in priorities]
    await operator.start("scheduler", RELAY_AHEAD="1")
    await operator.start("worker", "--concurrency", "1")
    await operator("tasks", "resume", "default")
    done = [await operator.until(task_id, *ENDED) for task_id in promised]
    assert {row.status for row in done} == {TaskStatus.succeeded}
    started = sorted(done, key=lambda row: (row.started_at, row.priority))
    assert [row.priority for row in started] == sorted(priorities)
