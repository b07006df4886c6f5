"""Tasks as server-sent events, from a real server: what comes, what ends a stream, and what it costs."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.engine import make_url
from sqlmodel import col, update

from app.core.config import settings
from app.core.db import new_session
from app.crud import task_run
from app.models import BackgroundTask, TaskStatus, User
from app.models.background_task import ALIVE
from tests.factories import make_task, make_user
from tests.fixtures import NewClient
from tests.flows import PASSWORD, V1, Account, signed_in
from tests.stack import Server
from tests.staff import id_of, patch, with_roles
from tests.streaming import Listener, Relay
from tests.waiting import eventually

BOUND = 2.0  # seconds for what takes under one: the machine may be busy
ENDED = frozenset(status for status in TaskStatus if status not in ALIVE)


@pytest.fixture(scope="module")
async def url(services) -> AsyncIterator[str]:
    """A server for the tests that leave nothing behind in it."""
    running = await Server(services, (), {}).ready()
    yield running.url
    assert running.stop() == 0


@pytest.fixture
async def account(url: str, new_client: NewClient) -> Account:
    return await signed_in(new_client(base_url=url))


async def running_task(account: Account, **fields: Any) -> BackgroundTask:
    """A task that a worker has claimed, once."""
    async with new_session() as db:
        owner = await db.get_one(User, await id_of(account))
        return await make_task(
            db, owner, **{"status": TaskStatus.running, "attempts": 1, "completed_at": None, **fields}
        )


async def report(task: BackgroundTask, progress: float) -> None:
    async with new_session() as db:
        assert await task_run.report(db, task.id, 1, progress, f"at {progress}")
        await db.commit()


async def succeed(task: BackgroundTask) -> None:
    async with new_session() as db:
        assert await task_run.succeed(db, [(task.id, 1)], {"made": True})
        await db.commit()


async def read(account: Account, task: BackgroundTask) -> dict[str, Any]:
    answer = await account.client.get(f"{V1}/tasks/{task.id}", headers=account.bearer)
    assert answer.status_code == 200
    return answer.json()


async def metric(url: str, name: str, **labels: str) -> float:
    async with AsyncClient(base_url=url, trust_env=False) as client:
        text = (await client.get(f"{V1}/metrics")).text
    samples = (one for family in text_string_to_metric_families(text) for one in family.samples)
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


# --- what comes -----------------------------------------------------------------------------------------------------


async def test_the_present_state_comes_first_then_each_change_then_the_end(url: str, account: Account) -> None:
    task = await running_task(account)
    stream = await Listener.open(url, task.id, account.bearer)
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert (stream.headers["cache-control"], stream.headers["x-accel-buffering"]) == ("no-store", "no")
    first = await stream.next()
    assert first is not None
    assert (first.id, first.task) == (str(task.revision), await read(account, task))
    for progress in (0.25, 0.5):
        await report(task, progress)
        event = await stream.next()
        assert event is not None
        assert event.task["progress"] == progress
        assert event.task == await read(account, task)
    await succeed(task)
    last = await stream.next()
    assert last is not None
    assert (last.id, last.task["status"], last.task["result"]) == (str(task.revision + 3), "succeeded", {"made": True})
    assert await stream.next() is None


async def test_with_the_last_id_it_waits_for_the_next_change(url: str, account: Account) -> None:
    task = await running_task(account, revision=7)
    waiting = await Listener.open(url, task.id, account.bearer, seen="7")
    behind = await Listener.open(url, task.id, account.bearer, seen="6")
    told = await behind.next()
    assert told is not None
    assert told.id == "7"
    await report(task, 0.5)
    for stream in (waiting, behind):
        event = await stream.next()
        assert event is not None
        assert (event.id, event.task["progress"]) == ("8", 0.5)
    await succeed(task)
    for stream in (waiting, behind):
        assert (await stream.next()).id == "9"
        assert await stream.next() is None
    assert (await Listener.open(url, task.id, account.bearer, seen="9")).status == 204


async def test_what_its_owner_does_comes_too(url: str, account: Account) -> None:
    task = await running_task(account, status=TaskStatus.queued)
    stream = await Listener.open(url, task.id, account.bearer)
    await stream.next()
    answer = await account.client.post(f"{V1}/tasks/{task.id}/cancel", headers=account.bearer)
    event = await stream.next()
    assert event is not None
    assert event.task == answer.json()
    assert event.task["status"] == "cancelled"
    assert await stream.next() is None


@pytest.mark.parametrize("turn", range(20))
async def test_a_dropped_stream_that_comes_back_misses_no_final_state(url: str, account: Account, turn: int) -> None:
    """The client goes after each event, or before the first, and knows the last one that it has read."""
    task = await running_task(account)

    async def work() -> None:
        for step in range(turn % 5):
            await report(task, step / 5)
        await succeed(task)

    working, seen, last = asyncio.create_task(work()), None, None
    while last not in ENDED:
        stream = await Listener.open(url, task.id, account.bearer, seen=seen)
        assert stream.status == 200, "a 204 tells of an end that was not seen"
        if turn % 2:
            event = await stream.next()
            if event is not None:
                seen, last = event.id, event.task["status"]
        stream.drop()
        turn += 1
    await working
    assert last == TaskStatus.succeeded


async def test_strangers_and_those_who_are_not_signed_in_see_nothing(
    url: str, account: Account, new_client: NewClient
) -> None:
    task = await running_task(account)
    stranger = await signed_in(new_client(base_url=url))
    assert (await Listener.open(url, task.id, stranger.bearer)).problem() == (404, "not_found")
    assert (await Listener.open(url, task.id, {})).problem() == (401, "not_authenticated")


# --- what ends it ---------------------------------------------------------------------------------------------------


async def _log_out(account: Account, _: Account) -> None:
    assert (await account.logout()).status_code == 204


async def _revoke_elsewhere(account: Account, _: Account) -> None:
    other = Account(account.client, account.email)
    await other.login()
    answer = await other.client.delete(f"{V1}/users/me/sessions", headers=other.bearer)
    assert answer.status_code == 204


async def _change_password(account: Account, _: Account) -> None:
    other = Account(account.client, account.email)
    await other.login()
    new = {"current_password": PASSWORD, "new_password": "another-plum-otter-77"}
    answer = await other.client.post(f"{V1}/users/me/password", json=new, headers=other.bearer)
    assert answer.status_code == 204


async def _disable(account: Account, admin: Account) -> None:
    assert (await patch(admin, await id_of(account), is_active=False)).status_code == 200


async def _delete(account: Account, _: Account) -> None:
    assert (await account.client.delete(f"{V1}/users/me", headers=account.bearer)).status_code == 204


@pytest.mark.parametrize("end", [_log_out, _revoke_elsewhere, _change_password, _disable, _delete])
async def test_a_stream_ends_with_its_session(
    url: str, account: Account, new_client: NewClient, end: Callable[[Account, Account], Awaitable[None]]
) -> None:
    admin = await with_roles(new_client(base_url=url), "admin")
    task = await running_task(account)
    bystander = await running_task(admin)
    stream = await Listener.open(url, task.id, account.bearer)
    other = await Listener.open(url, bystander.id, admin.bearer)
    assert await stream.next()
    assert await other.next()
    await end(account, admin)
    answered = time.monotonic()
    assert await stream.next(within=10) is None
    took = time.monotonic() - answered
    print(f"ended {took * 1000:.0f} ms after the answer")
    assert took < BOUND
    await report(bystander, 0.5)
    assert await other.next(), "nobody else's stream ends"
    other.drop()


async def test_a_stream_of_a_row_that_goes_ends(url: str, account: Account) -> None:
    task = await running_task(account)
    stream = await Listener.open(url, task.id, account.bearer)
    assert await stream.next()
    async with new_session() as db:
        await db.delete(await db.get_one(BackgroundTask, task.id))
        await db.commit()
    assert await stream.next() is None


async def test_a_process_that_is_told_to_stop_does_not_wait_for_streams(server, new_client: NewClient) -> None:
    running = await server(SHUTDOWN_TIMEOUT="60")
    account = await signed_in(new_client(base_url=running.url))
    task = await running_task(account)
    streams = [await Listener.open(running.url, task.id, account.bearer) for _ in range(20)]
    for stream in streams:
        assert await stream.next()
    began = time.monotonic()
    running.process.terminate()
    for stream in streams:
        assert await stream.next() is None
    assert await asyncio.to_thread(running.process.wait, 30) == 0
    took = time.monotonic() - began
    print(f"ended {took:.2f} s after SIGTERM")
    assert took < 2 * BOUND


@pytest.fixture
async def database(server) -> AsyncIterator[tuple[str, Relay]]:
    """A server, and what stands between it and its database."""
    url = make_url(settings.database_url)
    async with Relay(url.host or "127.0.0.1", url.port or 5432) as relay:
        through = url.set(host="127.0.0.1", port=relay.port).render_as_string(hide_password=False)
        yield (await server(DATABASE_URL=through)).url, relay


@pytest.mark.stack(name="server")
async def test_a_stream_outlives_a_database_that_is_away_for_a_moment(database, new_client: NewClient) -> None:
    url, relay = database
    account = await signed_in(new_client(base_url=url))
    task = await running_task(account)
    stream = await Listener.open(url, task.id, account.bearer)
    assert await stream.next()
    relay.flowing.clear()
    await succeed(task)  # past the relay
    relay.flowing.set()
    event = await stream.next()
    assert event is not None
    assert event.task["status"] == "succeeded"
    assert await stream.next() is None


@pytest.mark.stack(name="server")
async def test_no_stream_goes_on_for_long_when_nobody_can_say_that_its_session_stands(
    database, new_client: NewClient
) -> None:
    url, relay = database
    account = await signed_in(new_client(base_url=url))
    task = await running_task(account)
    stream = await Listener.open(url, task.id, account.bearer)
    assert await stream.next()
    relay.flowing.clear()
    began = time.monotonic()
    assert await stream.next(within=10) is None
    took = time.monotonic() - began
    print(f"ended {took * 1000:.0f} ms after the database went away")
    assert took < BOUND
    relay.flowing.set()

    async def back() -> bool:
        again = await Listener.open(url, task.id, account.bearer)
        again.drop()
        return again.status == 200

    await eventually(back)


# --- what it costs --------------------------------------------------------------------------------------------------


async def test_a_process_and_an_account_have_so_many_streams_and_no_more(server, new_client: NewClient) -> None:
    url = (await server(STREAMS="25")).url
    one, other = [await signed_in(new_client(base_url=url)) for _ in range(2)]
    mine, theirs = await running_task(one), await running_task(other)
    streams = [await Listener.open(url, mine.id, one.bearer) for _ in range(20)]
    refused = await Listener.open(url, mine.id, one.bearer)
    assert int(refused.headers["retry-after"]) > 0
    assert refused.problem() == (429, "too_many_streams")
    streams += [await Listener.open(url, theirs.id, other.bearer) for _ in range(5)]
    assert {stream.status for stream in streams} == {200}
    refused = await Listener.open(url, theirs.id, other.bearer)
    assert int(refused.headers["retry-after"]) > 0
    assert refused.problem() == (503, "streams_full")
    streams[0].drop()

    async def let_in() -> bool:
        streams.append(await Listener.open(url, mine.id, one.bearer))
        return streams[-1].status == 200

    await eventually(let_in)
    for stream in streams:
        stream.drop()


async def test_open_streams_hold_no_connection_to_the_database(server, new_client: NewClient) -> None:
    url = (await server(DB_POOL_SIZE="1")).url
    account = await signed_in(new_client(base_url=url))
    task = await running_task(account)
    streams = [await Listener.open(url, task.id, account.bearer) for _ in range(20)]
    for stream in streams:
        assert await stream.next()
    for _ in range(20):
        assert (await account.me()).status_code == 200
    await succeed(task)
    for stream in streams:
        event = await stream.next()
        assert event is not None
        assert event.task["status"] == "succeeded"
        assert await stream.next() is None


async def _many(url: str, streams: int, new_client: NewClient) -> list[tuple[Account, BackgroundTask]]:
    """Accounts that are signed in, and for each of its streams a task that runs."""
    made: list[tuple[Account, BackgroundTask]] = []
    for _ in range(streams // 20):
        async with new_session() as db:
            account = Account(new_client(base_url=url), (user := await make_user(db)).email)
            rows = [
                BackgroundTask(task_type="sweep", status=TaskStatus.running, attempts=1, user_id=user.id)
                for _ in range(20)
            ]
            db.add_all(rows)
            await db.commit()
        assert (await account.login()).status_code == 200
        made += [(account, one) for one in rows]
    return made


async def _change_all(task_ids: list[UUID], progress: float) -> float:
    """Change all these tasks at once; when that was committed."""
    statement = update(BackgroundTask).where(col(BackgroundTask.id).in_(task_ids))
    async with new_session() as db:
        await db.exec(statement.values(progress=progress, revision=col(BackgroundTask.revision) + 1))
        await db.commit()
        return time.monotonic()


@pytest.mark.any_database
@pytest.mark.any_server
@pytest.mark.no_cover
async def test_500_streams_hear_soon_and_are_forgotten_when_they_drop(server, new_client: NewClient) -> None:
    url = (await server()).url
    many = await _many(url, 500, new_client)
    streams: list[Listener] = []
    for account, task in many:
        streams.append(await Listener.open(url, task.id, account.bearer))
        assert (await streams[-1].next()) is not None
    assert await metric(url, "event_streams") == 500
    delays: list[float] = []
    for turn in range(1, 6):
        # In this order, so that the events of one change wait for nobody who has not read the one before.
        at = await _change_all([task.id for _, task in many], turn / 10)
        for event in await asyncio.gather(*(stream.next() for stream in streams)):
            assert event is not None
            assert event.task["progress"] == turn / 10
            delays.append(event.at - at)
    delays.sort()
    print(f"500 streams: p50 {statistics.median(delays) * 1e3:.0f} ms, max {delays[-1] * 1e3:.0f} ms")
    assert statistics.median(delays) < BOUND
    for stream in streams:
        stream.drop()

    async def forgotten() -> bool:
        return await metric(url, "event_streams") == 0

    await eventually(forgotten)
