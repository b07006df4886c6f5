"""The worker's processes while what they need is away: they wait, say so once, and go on when it is back."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from celery import Celery
from httpx2 import AsyncClient
from redis.asyncio import Redis as Client
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel.ext.asyncio.session import AsyncSession
from structlog.testing import capture_logs

from app.core.db import build_engine, new_session
from app.crud import health, heartbeat, user
from app.models import TaskStatus
from app.tools import migrate
from app.worker import pulse, relay
from tests.databases import empty_database
from tests.factories import ago, make_task
from tests.faults.servers import Redis
from tests.flows import V1, problem, signed_in
from tests.processes import free_port
from tests.services import Services
from tests.stack import Process, Server
from tests.unit.test_cli import neoforge
from tests.waiting import eventually

START = Callable[..., Awaitable[Server]]


async def test_a_worker_outlives_a_redis_that_is_full(services: Services, tmp_path: Path) -> None:
    redis = Redis(tmp_path / "redis.log")
    await redis.start()
    caller = Celery(broker=redis.url)
    caller.conf.broker_transport_options = {"global_keyprefix": "full:"}
    worker = Process(services, ["worker"], {"REDIS_URL": redis.url, "REDIS_PREFIX": "full:"})

    def ring() -> None:
        caller.send_task("neoforge.verify_email", task_id=str(uuid4()), queue="default")

    def heard() -> int:
        worker.assert_runs()
        return worker.output().count("task_messages_dropped")

    try:
        ring()
        await eventually(lambda: heard() == 1)
        celery = psutil.Process(worker.pid).children()[0]
        celery.suspend()
        ring()
        async with Client.from_url(redis.url) as client:
            await client.config_set("maxmemory", "1")
            celery.resume()
            await eventually(lambda: "OutOfMemoryError" in worker.output())
            await client.config_set("maxmemory", "0")
        await asyncio.to_thread(ring)
        await eventually(lambda: heard() >= 2)
        assert "worker_ended_unasked" not in worker.output(), "its keeper would have started it again"
    finally:
        caller.close()
        worker.stop()
        redis.stop()


async def test_a_scheduler_waits_for_its_database_and_says_so_once(services: Services) -> None:
    database = empty_database(services, "awaited")
    away = f"redis://127.0.0.1:{free_port()}/0"
    scheduler = Process(services, ["scheduler"], {"DATABASE_URL": database, "REDIS_URL": away, "REDIS_PREFIX": ""})
    try:
        await eventually(lambda: "database_awaited" in scheduler.output())
        await asyncio.to_thread(migrate.upgrade, database)
        await eventually(lambda: "relay_started" in scheduler.output())
    finally:
        assert scheduler.stop() == 0
    assert scheduler.output().count("database_awaited") == 1
    assert "relay_stopped" in scheduler.output()


@pytest.mark.parametrize("command", ["worker", "scheduler"])
def test_without_a_broker_it_says_what_to_set(command: str, tmp_path: Path) -> None:
    ended = neoforge(command, REDIS_URL="", BROKER_URL="", DATA_DIR=str(tmp_path))
    assert ended.returncode == 1
    assert "set REDIS_URL" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_a_worker_is_told_how_much_to_do_at_once() -> None:
    refused = neoforge("worker", "--concurrency", "0")
    assert (refused.returncode, "--concurrency" in refused.stderr) == (2, True)


async def test_a_beat_that_fails_is_followed_by_the_next() -> None:
    beats = []

    async def beat(_engine: AsyncEngine) -> None:
        beats.append(True)
        if len(beats) == 1:
            raise ConnectionError("the database is away")

    with capture_logs() as logs:
        beating = pulse.Pulse("test", beat, every=0.01)
        beating.start()
        await eventually(lambda: len(beats) >= 3)
        beating.stop()
        await asyncio.to_thread(beating.join)
    assert [(line["event"], line["pulse"]) for line in logs] == [("beat_failed", "test")]


async def test_a_process_says_that_it_lives_and_that_it_goes() -> None:
    async def lives() -> bool:
        async with new_session(read_only=True) as db:
            return await heartbeat.alive(db, "tested")

    await asyncio.to_thread(pulse.stop)  # it has not begun: nothing to say
    assert not await lives()
    await asyncio.to_thread(pulse.start, "tested")
    assert await lives()
    await asyncio.to_thread(pulse.stop)
    assert not await lives()


async def test_a_first_beat_that_fails_stops_nothing() -> None:
    async def away(_db: AsyncSession) -> None:
        raise ConnectionError("the database is away")

    with capture_logs() as logs:
        await asyncio.to_thread(pulse._at_once, away)
    assert [line["event"] for line in logs] == ["beat_failed"]


async def test_a_task_that_is_given_up_is_told_by_its_id(clean: None) -> None:
    async with new_session() as db:
        spent = await make_task(
            db, status=TaskStatus.running, attempts=3, max_attempts=3, lease_until=ago(seconds=1), completed_at=None
        )
    with capture_logs() as logs:
        assert await relay.rescue() == 0
    assert [(line["event"], line["task_id"]) for line in logs] == [("task_parked", str(spent.id))]


async def test_a_database_without_a_migration_has_no_revision_and_a_broken_one_is_an_error(
    services: Services, tmp_path: Path
) -> None:
    (tmp_path / "broken.db").write_text("this is no database, and long enough to be looked at")
    for url, broken in ((empty_database(services, "bare"), False), (f"sqlite:///{tmp_path}/broken.db", True)):
        engine = build_engine(url, pool_size=1)
        try:
            async with AsyncSession(engine) as db:
                if not broken:
                    assert await health.revision(db) is None
                    continue
                with pytest.raises(Exception, match="not a database"):
                    await health.revision(db)
        finally:
            await engine.dispose()


async def test_what_is_no_address_has_no_account() -> None:
    async with new_session(read_only=True) as db:
        assert await user.get_by_email(db, "no address") is None


async def test_the_hot_path_without_a_database_is_503_for_each_of_many(
    client: AsyncClient, server: START, services: Services
) -> None:
    account = await signed_in(client)
    url = f"postgresql://u:p@127.0.0.1:{free_port()}/none"
    elsewhere = await server(DATABASE_URL=url, REDIS_PREFIX=services.redis_prefix("none"))
    # It has the same keys: the token is good there.
    async with AsyncClient(base_url=elsewhere.url, trust_env=False) as other:
        answers = await asyncio.gather(*(other.get(f"{V1}/users/me", headers=account.bearer) for _ in range(5)))
    assert [problem(answer) for answer in answers] == [(503, "service_unavailable")] * 5
