"""Readiness `worker`: a worker that lives and does not consume is told by what happens in the table."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import AsyncClient
from sqlalchemy import insert, text
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config import settings
from app.core.db import build_engine, new_session
from app.core.sql import db_now
from app.crud import heartbeat, task_queue, task_waiting
from app.models import BackgroundTask, TaskStatus, TaskType
from app.services import tasks
from tests.cleaning import empty_tables
from tests.databases import copy_template
from tests.factories import ago, make_task
from tests.flows import V1
from tests.stack import Process
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("clean")
QUEUE = "tested"  # no scheduler that runs beside knows it


def seconds(span: float) -> Any:
    return db_now(timedelta(seconds=span))


@pytest.fixture(autouse=True)
async def _beating(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A worker that lives, as its heartbeat says; and nothing is left of other tests."""
    monkeypatch.setitem(settings.__dict__, "task_queues", ("default", QUEUE))
    await empty_tables()
    process = uuid4()
    async with new_session() as db:
        await heartbeat.beat(db, process, "worker")
        await db.commit()
    yield
    async with new_session() as db:
        await heartbeat.stop(db, process)
        await db.commit()


async def state(client: AsyncClient) -> str:
    return str((await client.get(f"{V1}/health/ready")).json()["checks"]["worker"]["status"])


async def put(status: TaskStatus, **fields: Any) -> None:
    async with new_session() as db:
        await make_task(db, status=status, queue=QUEUE, **{"completed_at": None, "started_at": None, **fields})


@pytest.mark.parametrize("status", [TaskStatus.pending, TaskStatus.queued])
async def test_what_waits_in_vain_is_told(client: AsyncClient, status: TaskStatus) -> None:
    await put(status, run_at=seconds(-31))
    assert await state(client) == "degraded"


async def test_idle_is_healthy(client: AsyncClient) -> None:
    assert await state(client) == "healthy"
    await put(TaskStatus.pending, run_at=seconds(3600))
    await put(TaskStatus.pending, run_at=seconds(-20), priority=0)
    assert await state(client) == "healthy"


@pytest.mark.parametrize(
    ("status", "fields", "told"),
    [
        (TaskStatus.running, {"lease_until": seconds(10)}, "healthy"),
        (TaskStatus.running, {"lease_until": seconds(-1)}, "degraded"),
        (TaskStatus.succeeded, {"completed_at": seconds(-20)}, "healthy"),
        (TaskStatus.failed, {"completed_at": seconds(-20), "error_code": "timed_out"}, "healthy"),
        (TaskStatus.succeeded, {"completed_at": seconds(-31)}, "degraded"),
        # What owners cancel and relays give up is no worker's doing.
        (TaskStatus.cancelled, {"completed_at": seconds(-1)}, "degraded"),
        (TaskStatus.failed, {"completed_at": seconds(-1), "error_code": "worker_lost"}, "degraded"),
    ],
)
async def test_a_backlog_is_healthy_while_a_worker_works(
    client: AsyncClient, status: TaskStatus, fields: dict[str, Any], told: str
) -> None:
    await put(TaskStatus.pending, run_at=seconds(-600))
    await put(status, **fields)
    assert await state(client) == told


async def test_a_paused_queue_is_healthy(client: AsyncClient) -> None:
    await put(TaskStatus.pending, run_at=seconds(-600))
    async with new_session() as db:
        await task_queue.pause(db, QUEUE)
        await db.commit()
    assert await state(client) == "healthy"


async def test_a_worker_that_hears_no_message_is_told_and_one_that_does_is_healthy(
    services, server, new_client
) -> None:
    """On a database of its own, where no other worker takes what waits."""
    copy_template(services, name := f"deaf-{uuid4().hex[:8]}")
    own = {"DATABASE_URL": services.database(name), "REDIS_PREFIX": services.redis_prefix(name)}
    client = new_client((await server(**own)).url)
    elsewhere = {**own, "REDIS_PREFIX": services.redis_prefix(f"{name}-other")}
    processes = [Process(services, ["scheduler"], own), Process(services, ["worker"], elsewhere)]
    engine = build_engine(own["DATABASE_URL"], pool_size=1)

    async def is_in(status: str) -> bool:
        async with AsyncSession(engine) as db:
            found = (await db.exec(text("SELECT status FROM background_tasks"))).all()  # type: ignore[call-overload] # typed for select() only
        return [row.status for row in found] == [status]

    try:
        await eventually(lambda: healthy(client), within=60)
        async with AsyncSession(engine) as db:
            (await tasks.enqueue(db, TaskType.sweep)).run_at = seconds(-31)
            await db.commit()
        await eventually(lambda: is_in("queued"))
        assert await state(client) == "degraded"
        processes.append(Process(services, ["worker"], own))
        await eventually(lambda: is_in("succeeded"), within=60)
        assert await state(client) == "healthy"
    finally:
        for process in processes:
            process.stop()
        await engine.dispose()


async def healthy(client: AsyncClient) -> bool:
    return await state(client) == "healthy"


@pytest.mark.stack(name="server")
async def test_each_question_walks_an_index() -> None:
    async with new_session() as db:
        await fill(db, 10_000, ended=10_000)
        now = (await db.exec(select(db_now()))).one()
        for question, index in (
            (task_waiting.first_due("default"), "ix_background_tasks_due"),
            (task_waiting.due("default", now), "ix_background_tasks_due"),
            (task_waiting.first_rung("default"), "ix_background_tasks_lease"),
            (task_waiting.runs(now), "ix_background_tasks_lease"),
            (task_waiting.ended_lately(now), "ix_background_tasks_completed"),
        ):
            asked = question.compile(db.get_bind(), compile_kwargs={"literal_binds": True})
            plan = "\n".join((await (await db.connection()).execute(text(f"EXPLAIN {asked}"))).scalars())
            assert index in plan, plan
            assert "Seq Scan" not in plan, plan


async def test_a_long_backlog_is_counted_to_ten_thousand() -> None:
    async with new_session() as db:
        await fill(db, 10_500)
        found = await task_waiting.measure(db, ["default", "empty"])
    oldest, number = found["default"]
    assert number == 10_000
    assert 60 <= oldest < 600  # a busy machine takes its time to write them
    assert found["empty"] == (0, 0)


async def fill(db: AsyncSession, waiting: int, ended: int = 0) -> None:
    """So many that wait, and so many that ended an hour ago."""
    ways = (
        (waiting, {"status": TaskStatus.pending, "run_at": ago(minutes=1)}),
        (ended, {"status": TaskStatus.succeeded, "run_at": ago(days=1), "completed_at": ago(hours=1)}),
    )
    made = [
        BackgroundTask(task_type=TaskType.sweep, priority=i % 10, **way).model_dump()
        for number, way in ways
        for i in range(number)
    ]
    for row in made:
        row.setdefault("completed_at", None)
    connection = await db.connection()
    await connection.execute(insert(BackgroundTask), made)
    await connection.execute(text("ANALYZE background_tasks"))
