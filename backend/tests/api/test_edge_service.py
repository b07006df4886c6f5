"""Health, configuration, metrics."""

import re
from uuid import uuid4

import pytest
from httpx2 import AsyncClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from app import __version__
from app.core.db import new_session
from app.crud import heartbeat
from app.services import health
from tests.cleaning import empty_tables
from tests.databases import copy_template
from tests.flows import V1

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


async def revision(new: str | None) -> str | None:
    """Set what the database says that it is at; answers what it said before."""
    async with new_session() as db:
        before = (await db.exec(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()
        await db.exec(text("DELETE FROM alembic_version"))
        if new:
            await db.exec(text("INSERT INTO alembic_version VALUES (:new)").bindparams(new=new))
        await db.commit()
    return before


@pytest.fixture
async def at_revision():
    before = await revision(None)
    await revision(before)
    yield revision
    await revision(before)


@pytest.fixture
async def beating():
    await empty_tables()  # what other tests promised waits for a worker that is none
    process = uuid4()
    async with new_session() as db:
        await heartbeat.beat(db, process, "worker")
        await db.commit()
    yield
    async with new_session() as db:
        await heartbeat.stop(db, process)
        await db.commit()


async def test_live_says_so_and_touches_nothing(client: AsyncClient):
    answer = await client.get(f"{V1}/health")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["version"], set(body)) == ("healthy", __version__, {"status", "timestamp", "version"})
    assert TIMESTAMP.fullmatch(body["timestamp"])


async def test_ready_with_every_part_is_healthy(client: AsyncClient, beating):
    answer = await client.get(f"{V1}/health/ready")
    body = answer.json()
    assert (answer.status_code, body["status"]) == (200, "healthy"), body
    assert set(body) == {"status", "timestamp", "version", "checks"}
    assert set(body["checks"]) == {"database", "redis", "worker", "migrations", "config"}
    for check in body["checks"].values():
        assert check["status"] == "healthy"
        assert 0 < check["latency_ms"] < 2000


async def test_ready_without_a_worker_is_degraded(server, services, new_client):
    """On a database of its own, where no worker of another test says that it lives."""
    copy_template(services, name := f"lonely-{uuid4().hex[:8]}")
    client = new_client((await server(DATABASE_URL=services.database(name))).url)
    answer = await client.get(f"{V1}/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["checks"]["worker"]["status"] == "degraded"


@pytest.mark.parametrize(
    ("at", "status", "state"), [("9999_of_a_newer_release", 200, "degraded"), (None, 503, "unhealthy")]
)
async def test_ready_compares_the_database_with_the_code(client: AsyncClient, beating, at_revision, at, status, state):
    await at_revision(at)
    answer = await client.get(f"{V1}/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (status, state)
    assert answer.json()["checks"]["migrations"]["status"] == state
    assert answer.json()["checks"]["database"]["status"] == "healthy"
    assert ("retry-after" in answer.headers) is (status == 503)


async def test_a_process_that_is_about_to_stop_is_not_ready(client: AsyncClient, beating):
    health.draining(True)
    try:
        answer = await client.get(f"{V1}/health/ready")
    finally:
        health.draining(False)
    assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
    assert answer.headers["content-type"] == "application/json"


async def test_config_is_public_and_cheap_to_ask_for_again(client: AsyncClient):
    answer = await client.get(f"{V1}/config")
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"app", "auth", "limits", "flags"}
    assert set(body["app"]) == {"name", "version", "environment"}
    assert body["auth"]["password"] == {"min_length": 8, "max_length": 128}
    tag = answer.headers["etag"]
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await client.get(f"{V1}/config", headers={"if-none-match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await client.get(f"{V1}/config", headers={"if-none-match": '"other"'})).status_code == 200


async def test_metrics_count_by_method_and_route_template(client: AsyncClient):
    for path in ("/problems/email_taken", "/problems/no_such", "/no/such/path", "/no/other"):
        await client.get(path)
    await client.request("BREW", "/no/such/path")
    answer = await client.get(f"{V1}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family.samples for family in text_string_to_metric_families(answer.text)}
    counted = {
        (sample.labels.pop("method"), sample.labels.pop("endpoint"), *sample.labels): sample.value
        for sample in families["http_requests"]
        if sample.name == "http_requests_total"
    }
    assert counted["GET", "/problems/{code}"] >= 2
    assert counted["GET", "unmatched"] >= 2
    assert counted["OTHER", "unmatched"] >= 1
    assert all(len(labels) == 2 for labels in counted)
    assert families["http_request_duration_seconds"][0].labels.keys() == {"method", "endpoint", "le"}
    assert "email_taken" not in answer.text
    assert "no/such" not in answer.text
    assert 'http_responses_total{status="404"}' in answer.text


async def test_metrics_are_openmetrics_where_asked_for(client: AsyncClient):
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    answer = await client.get(f"{V1}/metrics", headers={"accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")


@pytest.mark.parametrize(
    "accept", ["", "nonsense;;;", "text/plain;version=x", "application/openmetrics-text;version=x"]
)
async def test_metrics_answer_whatever_is_accepted(client: AsyncClient, accept):
    assert (await client.get(f"{V1}/metrics", headers={"accept": accept})).status_code == 200
