"""`/metrics` of workers and schedulers, on ports of their own."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import AsyncClient, Response
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from app.core.config import Environment, settings
from app.core.db import new_session
from app.core.process import listen
from app.core.sql import db_now
from app.crud import task_queue
from app.models import TaskStatus, TaskType
from app.services import tasks
from app.worker import scrape
from tests.factories import make_task
from tests.services import BACKEND
from tests.stack import Process, Worker
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("clean")
TOKEN = "a-token-of-prometheus"
Samples = dict[tuple[str, ...], float]


async def scraped(process: Process) -> Samples:
    """By name and the values of its labels in order: what the process answers on the port that its log names."""

    def told() -> list[dict[str, Any]]:
        return [json.loads(line) for line in process.output().splitlines() if "metrics_served" in line]

    served = await eventually(told)
    async with AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{served[-1]['port']}/metrics")
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    samples = [one for family in families for one in family.samples]
    return {(one.name, *(value for _, value in sorted(one.labels.items()))): one.value for one in samples}


async def test_a_worker_tells_what_its_pool_ran(worker: Worker) -> None:
    before = await scraped(worker.worker)
    async with new_session() as db:
        await tasks.enqueue(db, TaskType.sweep)
        await db.commit()
    counts = (("task_outcomes_total", "succeeded", "sweep"), ("task_duration_seconds_count", "succeeded", "sweep"))

    async def counted() -> bool:
        now = await scraped(worker.worker)
        return all(now.get(name, 0) == before.get(name, 0) + 1 for name in counts)

    await eventually(counted)
    told = await scraped(worker.scheduler)
    assert told["tasks_rung_total",] >= 1
    assert "tasks_rescued_total" in {name for name, *_ in told}


async def test_a_scheduler_tells_what_waits(worker: Worker) -> None:
    async with new_session() as db:
        await task_queue.pause(db, "default")
        await db.commit()
        for _ in range(3):
            await make_task(db, status=TaskStatus.pending, completed_at=None, run_at=db_now(timedelta(seconds=-60)))
        await make_task(db, status=TaskStatus.pending, completed_at=None, run_at=db_now(timedelta(hours=1)))
    told = await scraped(worker.scheduler)
    assert told["tasks_waiting", "default"] == 3
    assert ("tasks_oldest_due_seconds", "default") not in told, "what is paused waits as it was told to"


async def test_the_age_of_the_oldest_is_of_what_is_due(worker: Worker) -> None:
    """Rung, as for a worker that does not hear; nothing rings it again before its lease has run out."""
    async with new_session() as db:
        await make_task(
            db, status=TaskStatus.queued, completed_at=None, run_at=db_now(timedelta(minutes=-2)),
            lease_until=db_now(timedelta(minutes=1)),
        )  # fmt: skip
    told = await scraped(worker.scheduler)
    assert 120 <= told["tasks_oldest_due_seconds", "default"] < 180
    assert told["tasks_waiting", "default"] == 1


@pytest.fixture
def url() -> Iterator[str]:
    """A server of this process's own."""
    server = scrape.Scraped(listen("127.0.0.1", 0), lambda: None)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
async def ask() -> AsyncIterator[Callable[..., Awaitable[Response]]]:
    async with AsyncClient(trust_env=False) as client:
        yield client.request


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/metrics", 200), ("GET", "/metrics?name=x", 200), ("GET", "/", 404), ("GET", "/metrics/", 404),
        ("POST", "/metrics", 404), ("HEAD", "/metrics", 404), ("BREW", "/metrics", 404),
    ],
)  # fmt: skip
async def test_nothing_else_is_answered(url: str, ask, method: str, path: str, status: int) -> None:
    answer = await ask(method, url + path)
    assert answer.status_code == status
    assert "server" not in answer.headers


async def test_openmetrics_are_had_where_asked_for(url: str, ask) -> None:
    answer = await ask("GET", f"{url}/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.text.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("sent", "status"),
    [("", 401), (f"Bearer {TOKEN}", 200), (f"bearer {TOKEN}", 200), (f"Basic {TOKEN}", 401), ("Bearer other", 401)],
)
async def test_in_production_the_token_is_asked_for(
    url: str, ask, sent: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.__dict__, "environment", Environment.production)
    monkeypatch.setitem(settings.__dict__, "metrics_token", TOKEN)
    answer = await ask("GET", f"{url}/metrics", headers={"authorization": sent} if sent else {})
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) is (status == 401)


def test_a_port_that_is_taken_is_told_and_no_more() -> None:
    with socket.socket() as taken, capture_logs() as logs:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        scrape.serve(taken.getsockname()[1])
    assert [(line["event"], line["log_level"]) for line in logs] == [("metrics_not_served", "warning")]


def test_what_ended_processes_counted_stays_and_their_files_do_not(tmp_path) -> None:
    """In an interpreter of its own: the library reads at its import whether several processes count together."""
    script = """
import os
from app.core.exposition import exposition, fold_ended
from app.core.metrics import TASK_DURATION, TASKS_RESCUED

def work():
    TASKS_RESCUED.inc(2)
    TASK_DURATION.labels(task_type="sweep", outcome="succeeded").observe(0.2)

TASKS_RESCUED.inc()
for _ in range(5):
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    os.waitpid(child, 0)
    fold_ended()
print(exposition("")[0].decode())
print(sorted(name.rpartition("_")[0] for name in os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"])))
"""
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, cwd=BACKEND, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "tasks_rescued_total 11.0" in lines
    assert 'task_duration_seconds_bucket{le="0.5",outcome="succeeded",task_type="sweep"} 5.0' in lines
    assert 'task_duration_seconds_bucket{le="0.1",outcome="succeeded",task_type="sweep"} 0.0' in lines
    assert lines[-1] == "['counter', 'counter', 'gauge_livesum', 'gauge_mostrecent', 'histogram']"
