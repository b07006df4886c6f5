"""The gateway of production before two processes of the API: what comes through it, and what does not."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from httpx2 import AsyncClient
from sqlmodel import col, select

from app.core.db import new_session
from app.models import TaskStatus, User, UserSession
from tests.factories import ago, make_task
from tests.fixtures import NewClient
from tests.flows import V1, Account, problem
from tests.gateway import Gateway
from tests.inbox import Inbox, link_token
from tests.services import Services
from tests.stack import Server, Worker
from tests.waiting import eventually

pytestmark = [pytest.mark.any_database, pytest.mark.any_server]

SPOOFED = "203.0.113.9"


@dataclass
class Production:
    gateway: Gateway
    apis: list[Server]


@pytest.fixture(scope="module")
async def pair(services: Services) -> AsyncIterator[Production]:
    """Two processes of the API and the gateway before them."""
    gateway = Gateway(services)
    env = {
        "ENVIRONMENT": "production",
        "PUBLIC_URL": gateway.url,
        "ALLOWED_HOSTS": "127.0.0.1",  # for the fixture's own look at each process
        "TRUSTED_PROXIES": "127.0.0.1/32",
        "MAIL_FROM": "no-reply@example.com",
        "ALLOW_SQLITE_IN_PRODUCTION": "true",
        "METRICS_TOKEN": "inside-only-metrics-token",
    }
    apis = [Server(services, [], env), Server(services, [], env)]
    try:
        await asyncio.gather(*(api.ready() for api in apis))
        gateway.start([api.url for api in apis])
        await gateway.ready()
        yield Production(gateway, apis)
    finally:
        gateway.stop()
        for api in apis:
            api.stop()


@pytest.fixture
async def production(pair: Production) -> Production:
    """`pair`, whole again when the test before has killed a part."""
    for api in pair.apis:
        if api.process.poll() is not None:
            api.start_again()
            await api.ready()
    await pair.gateway.ready()
    return pair


@pytest.fixture
def outside(production: Production, new_client: NewClient) -> AsyncClient:
    """A client that trusts the gateway's root and nothing else."""
    return new_client(base_url=production.gateway.url, verify=production.gateway.trust())


async def sign_up(client: AsyncClient, smtp: Inbox) -> Account:
    """A verified account that has signed in."""
    account = Account(client)
    assert (await account.register()).status_code == 202
    mail = await smtp.wait_for(account.email)
    answer = await client.post(f"{V1}/auth/verify-email", json={"token": link_token(mail)})
    assert answer.status_code == 204
    assert (await account.login()).status_code == 200
    return account


async def addresses_of(account: Account) -> list[str | None]:
    """Where its sessions were begun, the first one first."""
    async with new_session(read_only=True) as db:
        found = select(UserSession.ip).join(User).where(User.email == account.email).order_by(col(UserSession.id))
        return list((await db.exec(found)).all())


async def test_the_main_job_over_https(
    production: Production, outside: AsyncClient, smtp: Inbox, worker: Worker
) -> None:
    account = await sign_up(outside, smtp)
    assert (await account.me()).json()["email"] == account.email
    spent = account.pair
    account.pair = (await account.refresh()).json()
    assert account.pair["refresh_token"] != spent["refresh_token"]
    assert (await account.me()).status_code == 200

    assert (await account.logout()).status_code == 204
    assert problem(await account.refresh()) == (401, "session_revoked")

    async def dead_everywhere() -> bool:
        return {(await account.me()).status_code for _ in production.apis} == {401}

    await eventually(dead_everywhere, within=1)


async def test_an_event_stream_passes_as_it_comes(
    production: Production, outside: AsyncClient, smtp: Inbox, worker: Worker
) -> None:
    """Nothing is held back, and a change made by whichever process is seen."""
    account = await sign_up(outside, smtp)
    for _ in production.apis:  # one after the other is asked
        async with new_session() as db:
            owner = (await db.exec(select(User).where(User.email == account.email))).one()
            task = await make_task(db, owner, status=TaskStatus.pending, run_at=ago(hours=-1), completed_at=None)
        path = f"{V1}/tasks/{task.id}"
        async with asyncio.timeout(30), outside.stream("GET", f"{path}/events", headers=account.bearer) as answer:
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            data = (line.removeprefix("data: ") async for line in answer.aiter_lines() if line.startswith("data: "))
            assert json.loads(await anext(data))["status"] == "pending"
            assert (await outside.post(f"{path}/cancel", headers=account.bearer)).status_code == 200
            assert [json.loads(one)["status"] async for one in data] == ["cancelled"]


async def test_one_process_may_die(production: Production, outside: AsyncClient, smtp: Inbox, worker: Worker) -> None:
    account = await sign_up(outside, smtp)
    production.apis[0].kill()
    for _ in range(4):  # a POST too: its connection is refused, so it was never sent and is tried at the other one
        assert (await account.me()).status_code == 200  # it meets what was left of its connections, and goes elsewhere
        assert (await account.login()).status_code == 200

    production.apis[1].kill()
    answer = await account.me()
    assert problem(answer) == (503, "service_unavailable")
    assert answer.headers["retry-after"] == "2"


async def test_a_clients_word_on_its_address_is_dropped(
    production: Production, outside: AsyncClient, smtp: Inbox, worker: Worker
) -> None:
    account = await sign_up(outside, smtp)
    credentials = {"email": account.email, "password": account.password}
    spoofed = {"X-Forwarded-For": SPOOFED, "Forwarded": f"for={SPOOFED}", "X-Real-IP": SPOOFED}
    answer = await outside.post(f"{V1}/auth/login", json=credentials, headers=spoofed)
    assert answer.status_code == 200
    # From the gateway's own place the API does believe it: it is the gateway that dropped it above.
    behind = AsyncClient(base_url=production.apis[0].url, trust_env=False)
    async with behind:
        answer = await behind.post(f"{V1}/auth/login", json=credentials, headers={"X-Forwarded-For": SPOOFED})
        assert answer.status_code == 200
    assert await addresses_of(account) == ["127.0.0.1", "127.0.0.1", SPOOFED]


CLOSED = [
    "/api/v1/metrics", "//api/v1/metrics", "/API/v1//Metrics", "/api/v1/%6detrics", "/api/v1/./metrics",
    "/api/v1/metrics/", "/api%2Fv1%2Fmetrics", "/api/v1/users/%2e%2e/metrics", "/api/v2/metrics", "/dev",
    "/dev/mailbox", "//DEV/mailbox", "/x/../dev/mailbox", "/%64ev/a%22b%0Ac%7B%7B1%7D%7D",
]  # fmt: skip


async def test_what_is_closed_looks_like_what_does_not_exist(production: Production) -> None:
    gateway = production.gateway
    token = "Bearer inside-only-metrics-token"
    for target in CLOSED:
        answer, body = await asyncio.to_thread(gateway.ask, "GET", target, Authorization=token, X_Request_ID="mine-1")
        assert answer.status == 404, target
        told = json.loads(body)
        assert told["code"] == "not_found", target
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["X-Request-ID"] == told["request_id"] == "mine-1"
    assert told["instance"] == '/dev/a"b\nc{{1}}'

    answer, body = await asyncio.to_thread(gateway.ask, "GET", "/api/v1/nothing")
    theirs = json.loads(body)
    assert theirs.keys() == told.keys()
    assert {name: theirs[name] for name in ("type", "title", "status", "detail", "code")} == {
        name: told[name] for name in ("type", "title", "status", "detail", "code")
    }


async def test_plain_http_serves_nothing(production: Production) -> None:
    gateway = production.gateway
    answer, body = await asyncio.to_thread(gateway.ask, "GET", "/api/v1/health?x=1", plain=True, Host="evil.example")
    assert (answer.status, body) == (308, b"")
    assert answer.headers["Location"] == f"{gateway.url}/api/v1/health?x=1"
    login = b'{"email": "a@example.com", "password": "x"}'
    answer, body = await asyncio.to_thread(gateway.ask, "POST", f"{V1}/auth/login", login, plain=True)
    assert (answer.status, json.loads(body)["code"]) == (403, "permission_denied")


async def test_what_is_too_large_stops_at_the_gateway(production: Production, outside: AsyncClient) -> None:
    for _ in range(4):
        answer = await outside.post(f"{V1}/auth/login", content=b" " * (2**20 + 1))
        assert problem(answer) == (413, "payload_too_large")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 2**16

    answer = await outside.post(f"{V1}/auth/login", content=pieces(), headers={"Content-Type": "application/json"})
    assert problem(answer) == (413, "payload_too_large")
    answer, _ = await asyncio.to_thread(production.gateway.ask, "GET", "/api/v1/health", X_Padding="x" * 40_000)
    assert answer.status == 431
    # The processes behind are not blamed for it.
    assert (await outside.get(f"{V1}/health")).status_code == 200


async def test_a_name_that_is_not_ours_is_refused(production: Production) -> None:
    answer, body = await asyncio.to_thread(production.gateway.ask, "GET", "/api/v1/health", Host="evil.example")
    assert (answer.status, json.loads(body)["code"]) == (400, "unknown_host")


async def test_no_answer_names_its_software(production: Production) -> None:
    ask = production.gateway.ask
    calls = [("/api/v1/health", False), ("/api/v1/metrics", False), ("/nothing", False), ("/api/v1/health", True)]
    for target, plain in calls:
        answer, _ = await asyncio.to_thread(ask, "GET", target, plain=plain)
        assert not {"Server", "Via", "X-Powered-By"} & set(answer.headers), (target, plain)
        if not plain:
            assert len(answer.headers.get_all("Strict-Transport-Security") or []) == 1, target
        else:
            assert answer.status == 308


async def test_the_documentation_is_not_served_in_production(production: Production, outside: AsyncClient) -> None:
    assert (await outside.get("/docs")).status_code == 404
    assert (await outside.get("/openapi.json")).status_code == 404
