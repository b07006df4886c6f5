"""Flower, as the containers of development run it: behind a login, over our Celery, told of every task."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from httpx2 import AsyncClient, TransportError
from sqlmodel import select

from app.models import BackgroundTask, TaskStatus
from tests.flows import Account
from tests.inbox import Inbox
from tests.operating import Operator, operator, own
from tests.processes import end, free_port, launch, tail
from tests.services import BACKEND, Services
from tests.waiting import eventually

__all__ = ["operator", "own"]

pytestmark = pytest.mark.any_database
LOGIN = ("someone", "something")
COMMAND = [sys.executable, "-m", "app.worker.flower"]


@pytest.fixture
async def flower(operator: Operator, services: Services) -> AsyncIterator[str]:
    """A Flower's address, once it answers."""
    port = free_port()
    env = {**os.environ, **operator.env, "FLOWER_BASIC_AUTH": ":".join(LOGIN), "FLOWER_PORT": str(port)}
    log = services.log(f"flower-{port}")
    process = launch(COMMAND, log, env={**env, "FLOWER_ADDRESS": "127.0.0.1"}, cwd=BACKEND)
    url = f"http://127.0.0.1:{port}"

    async def answers() -> bool:
        assert process.poll() is None, tail(log)
        async with AsyncClient(trust_env=False) as client:
            try:
                return (await client.get(f"{url}/healthcheck")).status_code == 200
            except TransportError:
                return False

    await eventually(answers, within=60)
    yield url
    end(process)


async def test_flower_shows_a_task_within_two_seconds_of_its_end(operator: Operator, flower: str, smtp: Inbox) -> None:
    await operator.start("scheduler", TASK_EVENTS="true")
    await operator.start("worker", TASK_EVENTS="true")
    server = await operator.serve()
    async with (
        AsyncClient(base_url=flower, auth=LOGIN, trust_env=False) as monitor,
        AsyncClient(base_url=server.url, trust_env=False) as client,
    ):

        async def hears() -> bool:
            workers = await monitor.get("/api/workers", params={"status": "true"})
            return workers.status_code == 200 and True in workers.json().values()

        await eventually(hears, within=60)
        assert (await Account(client).register()).status_code == 201
        async with operator.audit.session() as db:
            (task_id,) = (await db.exec(select(BackgroundTask.id))).all()
        assert (await operator.until(task_id, "succeeded", "failed")).status == TaskStatus.succeeded

        async def shown() -> bool:
            found = await monitor.get(f"/api/task/info/{task_id}")
            return found.status_code == 200 and found.json()["state"] == "SUCCESS"

        await eventually(shown, within=2)
        listed = (await monitor.get("/api/tasks")).json()
        assert (listed[str(task_id)]["name"], listed[str(task_id)]["state"]) == ("neoforge.verify_email", "SUCCESS")
    assert len(smtp.received()) == 1


async def test_flower_is_closed_to_who_has_no_login(flower: str) -> None:
    paths = ("/", "/workers", "/tasks", "/broker", "/api/tasks", "/api/workers", "/api/task/types", "/metrics")
    async with AsyncClient(base_url=flower, trust_env=False) as client:
        for auth in (None, (LOGIN[0], "else"), ("", "")):
            assert {path: (await client.get(path, auth=auth)).status_code for path in paths} == dict.fromkeys(
                paths, 401
            )
            refused = await client.post("/api/task/revoke/00000000-0000-7000-8000-000000000000", auth=auth)
            assert refused.status_code == 401
        assert {(await client.get(path, auth=LOGIN)).status_code for path in paths} == {200}


def test_flower_opens_nothing_when_it_has_no_login() -> None:
    refused = subprocess.run(
        COMMAND,
        cwd=BACKEND,
        env={**os.environ, "FLOWER_BASIC_AUTH": "", "FLOWER_UNAUTHENTICATED_API": "true"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "flower: set FLOWER_BASIC_AUTH to user:password\n"
