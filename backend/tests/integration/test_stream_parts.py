"""Event streams looked at from inside: a server in this process, over real connections."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlmodel import col, update

from app.api import event_stream, streams
from app.core import metrics
from app.core.db import engine, new_session
from app.models import BackgroundTask, TaskStatus, User
from app.services import task_watch
from tests.factories import make_task
from tests.fixtures import Clock
from tests.flows import V1, Account
from tests.staff import id_of
from tests.streaming import Listener, served
from tests.waiting import eventually

ROUTE = f"{V1}/tasks/{{id}}/events"


@pytest.fixture
async def url(app) -> AsyncIterator[str]:
    async with served(app) as url:
        yield url
    streams.start()  # it was told to stop


@pytest.fixture
async def task(account: Account) -> BackgroundTask:
    async with new_session() as db:
        owner = await db.get_one(User, await id_of(account))
        return await make_task(db, owner, status=TaskStatus.running, attempts=1, completed_at=None)


async def change(task_id: UUID, **values: Any) -> int:
    """Change the row as a worker does; its revision."""
    statement = update(BackgroundTask).where(col(BackgroundTask.id) == task_id)
    async with new_session() as db:
        await db.exec(statement.values(revision=col(BackgroundTask.revision) + 1, **values))
        await db.commit()
        return (await db.get_one(BackgroundTask, task_id)).revision


def nothing_is_left() -> bool:
    tasks = (streams._guarding, task_watch._looking)
    return not (streams._open or streams._of_one or task_watch._watched) and all(one and one.done() for one in tasks)


async def test_nothing_is_left_of_clients_that_dropped(url: str, account: Account, task: BackgroundTask) -> None:
    for _ in range(25):
        many = [await Listener.open(url, task.id, account.bearer) for _ in range(20)]
        assert {stream.status for stream in many} == {200}
        for stream in many:
            stream.drop()
        await eventually(lambda: not streams._open)
    await eventually(nothing_is_left)


async def test_no_connection_is_checked_out_between_events(url: str, account: Account, task: BackgroundTask) -> None:
    many = [await Listener.open(url, task.id, account.bearer) for _ in range(20)]
    for stream in many:
        assert await stream.next()
    pool: Any = engine().pool
    seen = []
    until = time.monotonic() + 1
    while time.monotonic() < until:
        seen.append(pool.checkedout())
        await asyncio.sleep(0)  # everything else has its turn
    assert seen.count(0) > len(seen) / 2, "the looks are short"
    assert max(seen) <= 2, "one look after the tasks, one after the sessions"
    for stream in many:
        stream.drop()


async def test_a_stream_ends_with_its_access_token(
    url: str, account: Account, task: BackgroundTask, clock: Clock
) -> None:
    stream = await Listener.open(url, task.id, account.bearer)
    assert await stream.next()
    clock.advance(timedelta(minutes=14))
    await change(task.id, progress=0.5)
    assert await stream.next()
    clock.advance(timedelta(minutes=1, seconds=1))
    assert await stream.next() is None


async def test_comments_come_while_nothing_happens_and_the_duration_is_that_of_the_beginning(
    url: str, account: Account, task: BackgroundTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "PING_EVERY", 0.05)
    duration = metrics.REQUEST_DURATION.labels(method="GET", endpoint=ROUTE)
    before = duration._sum.get()
    began = time.monotonic()
    stream = await Listener.open(url, task.id, account.bearer)
    assert await stream.next()
    waiting = asyncio.create_task(stream.next())
    await eventually(lambda: stream.pings >= 20)
    await change(task.id, status=TaskStatus.succeeded)
    event = await waiting
    assert event is not None
    assert event.task["status"] == "succeeded"
    assert await stream.next() is None
    lasted = time.monotonic() - began
    await eventually(nothing_is_left)
    assert duration._sum.get() - before < lasted / 2


async def test_a_slow_client_gets_the_newest_state_and_the_last(
    url: str, account: Account, task: BackgroundTask
) -> None:
    stream = await Listener.open(url, task.id, account.bearer, buffer=4096)
    for step in range(12):
        values = {"result": {"filling": str(step) * 2**20}}
        revision = await change(task.id, **values, **({"status": TaskStatus.succeeded} if step == 11 else {}))
        await eventually(lambda revision=revision: task_watch._watched[task.id].revision == revision)
    seen = []
    while event := await stream.next():
        seen.append(event.task)
    assert len(seen) < 12
    assert (seen[-1]["status"], seen[-1]["result"]["filling"][0]) == ("succeeded", "1")


async def test_a_client_that_takes_nothing_is_cut_off_when_its_session_ends(
    url: str, account: Account, task: BackgroundTask
) -> None:
    stream = await Listener.open(url, task.id, account.bearer, buffer=4096)
    for step in range(12):
        revision = await change(task.id, result={"filling": str(step) * 2**20})
        await eventually(lambda revision=revision: task_watch._watched[task.id].revision == revision)
    await account.logout()
    await eventually(lambda: not streams._open, within=10)
    stream.drop()


async def test_a_watcher_that_read_an_older_state_is_told_what_the_others_know(account: Account, task: BackgroundTask):
    """Between reading the row and being watched, the change was seen and told to the others."""
    told: list[list[int]] = [[], []]
    with task_watch.watching(task, lambda now: told[0].append(now.revision if now else 0)):
        revision = await change(task.id, progress=0.5)
        await eventually(lambda: told[0])
        with task_watch.watching(task, lambda now: told[1].append(now.revision if now else 0)):
            await eventually(lambda: told[1])
    assert told[0][0] == told[1][0] == revision
