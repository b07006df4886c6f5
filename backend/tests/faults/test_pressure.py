"""A database that lets nobody in, and more requests than can be served: each answer comes, and health at once."""

import asyncio
import json
import secrets
import sqlite3
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from httpx2 import AsyncClient, Limits, Response

from tests.databases import own_database
from tests.faults import watching
from tests.faults.conftest import Start
from tests.faults.stack import Role, Stack
from tests.flows import PASSWORD, V1, Account, new_email, problem, signed_in
from tests.services import Services, execute
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)
WITHIN = 5.0  # seconds
PATIENCE = 60.0  # seconds until a client gives up
API = {"api": Role("serve")}
UNLIMITED = {"RATE_LIMIT_ENABLED": "false"}
REFUSED = {(503, "service_unavailable"), (503, "overloaded")}


@asynccontextmanager
async def client_of(stack: Stack) -> AsyncIterator[AsyncClient]:
    limits = Limits(max_connections=None)
    async with AsyncClient(base_url=stack.addresses[0], trust_env=False, timeout=PATIENCE, limits=limits) as client:
        yield client


@asynccontextmanager
async def later(stack: Stack, account: Account) -> AsyncIterator[Account]:
    """The account over connections of its own: one that was idle for five seconds is closed, maybe at this moment."""
    async with client_of(stack) as client:
        yield Account(client, account.email, account.password, account.pair)


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[None]:
    """Nobody reads or writes the accounts; in SQLite, nobody writes anything."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            yield
            holder.execute("ROLLBACK")
        return
    holder = await asyncpg.connect(url)
    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await holder.close()


class Watch:
    """Asks for the liveness again and again, in a process of its own."""

    def __init__(self) -> None:
        self.spent: list[float] = []

    @asynccontextmanager
    async def over(self, stack: Stack) -> AsyncIterator[None]:
        port = str(urlsplit(stack.addresses[0]).port)
        running = await asyncio.create_subprocess_exec(sys.executable, watching.__file__, port, stdin=PIPE, stdout=PIPE)
        assert running.stdout
        self.spent.append(float(await running.stdout.readline()))
        try:
            yield
        finally:
            said, _ = await running.communicate(b"\n")
            self.spent += map(float, said.split())
        assert running.returncode == 0


async def timed(request: Awaitable[Response]) -> tuple[Response, float]:
    """The answer, and the seconds until it came."""
    clock = asyncio.get_running_loop().time
    began = clock()
    answer = await request
    return answer, clock() - began


async def all_at_once(requests: Sequence[Coroutine[Any, Any, Response]]) -> tuple[set[tuple[int, str]], float]:
    """What was answered: statuses, with the codes of problems; and the seconds that the last of them took."""
    answers = await asyncio.gather(*map(timed, requests))
    for answer, _ in answers:
        assert (answer.status_code == 503) == ("retry-after" in answer.headers)
    said = {problem(answer) if answer.status_code >= 400 else (answer.status_code, "") for answer, _ in answers}
    return said, max(took for _, took in answers)


def of_all_kinds(account: Account) -> list[Coroutine[Any, Any, Response]]:
    client, name = account.client, {"full_name": "Ada"}
    return [
        Account(client).register(),
        Account(client, account.email).login(),
        account.me(),
        account.refresh(),
        client.put(f"{V1}/users/me", headers=account.bearer, json=name),
        client.get(f"{V1}/users/me/sessions", headers=account.bearer),
        client.get(f"{V1}/tasks", headers=account.bearer),
    ]


async def assert_at_rest(stack: Stack) -> None:
    """No transaction is open that nobody will end."""
    if stack.database.startswith("sqlite"):
        with closing(sqlite3.connect(stack.database.removeprefix("sqlite:///"), timeout=30)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        return
    observer = await asyncpg.connect(stack.database)

    async def is_at_rest() -> bool:
        return not await observer.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'neoforge' AND state LIKE 'idle in transaction%'"
        )

    try:
        await eventually(is_at_rest, within=10)
    finally:
        await observer.close()


async def test_each_answer_comes_in_time_while_the_accounts_are_locked(start: Start) -> None:
    """More requests than the pool has connections, so that some wait for the lock and the others for them."""
    stack, watch = await start(API, **UNLIMITED), Watch()
    async with client_of(stack) as client:
        accounts = [await signed_in(client) for _ in range(6)]
        await all_at_once(of_all_kinds(accounts[0]))  # the first request of each route builds it, some 100 ms in all
        async with watch.over(stack), locked(stack.database):
            said, longest = await all_at_once([one for account in accounts for one in of_all_kinds(account)])
        print(f"locked: the last answer after {longest:.2f} s, health after {max(watch.spent) * 1000:.0f} ms at most")
        assert said & REFUSED
        assert said <= {*REFUSED, (200, "")}
        assert longest < WITHIN
        await assert_at_rest(stack)
        async with later(stack, accounts[0]) as account:
            said, _ = await all_at_once(of_all_kinds(account))
        assert said == {(200, ""), (201, "")}


@pytest.fixture
async def few(services: Services) -> AsyncIterator[str]:
    """The URL of a database, for a role whose connections can be limited."""
    url, role = own_database(services, "few"), services.database_name("few")
    execute(url, f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'few'")
    execute(url, f'GRANT ALL ON ALL TABLES IN SCHEMA public TO "{role}"')
    parts = urlsplit(url)
    yield parts._replace(netloc=f"{role}:few@{parts.hostname}:{parts.port}").geturl()
    execute(url, f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


@pytest.mark.stack(name="server")
async def test_each_answer_comes_in_time_when_no_connection_is_left(start: Start, few: str, services: Services) -> None:
    role, watch = urlsplit(few).username, Watch()
    stack = await start(API, DATABASE_URL=few, **UNLIMITED)
    async with client_of(stack) as client:
        account = await signed_in(client)
        await all_at_once(of_all_kinds(account))  # as above
        execute(services.postgres_url, f'ALTER ROLE "{role}" CONNECTION LIMIT 0')
        execute(
            services.postgres_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        )
        async with watch.over(stack):
            said, longest = await all_at_once([one for _ in range(6) for one in of_all_kinds(account)])
        print(f"spent: the last answer after {longest:.2f} s, health after {max(watch.spent) * 1000:.0f} ms at most")
        assert said & REFUSED
        assert said <= {*REFUSED, (200, "")}
        assert longest < WITHIN
        execute(services.postgres_url, f'ALTER ROLE "{role}" CONNECTION LIMIT -1')
        await eventually(is_served(client))


def is_served(client: AsyncClient) -> Callable[[], Awaitable[bool]]:
    async def served() -> bool:
        return (await Account(client).register()).status_code == 201

    return served


async def test_more_sign_ins_than_can_be_hashed_are_refused_at_once(start: Start) -> None:
    stack, watch = await start(API, HASH_THREADS="1", **UNLIMITED), Watch()
    async with client_of(stack) as client:
        account = await signed_in(client)
        async with watch.over(stack):
            said, longest = await all_at_once([Account(client, account.email).login() for _ in range(200)])
        print(f"flood: the last answer after {longest:.2f} s, health after {max(watch.spent) * 1000:.0f} ms at most")
        assert (503, "overloaded") in said
        assert said <= {*REFUSED, (200, "")}
        async with later(stack, account) as again:
            assert (await again.login()).status_code == 200


def bytes_of(path: str, body: dict[str, str], *, bearer: str = "") -> bytes:
    said, method = json.dumps(body), "PUT" if bearer else "POST"
    authorization = f"Authorization: Bearer {bearer}\r\n" * bool(bearer)
    head = f"{method} {V1}{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{authorization}"
    return f"{head}Content-Length: {len(said)}\r\n\r\n{said}".encode()


async def hang_up(stack: Stack, request: bytes) -> None:
    """Send it and close, without a look at the answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(stack.addresses[0]).port)
    writer.write(request)
    await writer.drain()
    writer.transport.abort()


async def test_clients_that_hang_up_leave_no_transaction_open(start: Start) -> None:
    stack = await start(API, **UNLIMITED)
    async with client_of(stack) as client:
        account = await signed_in(client)
        named = [bytes_of("/users/me", {"full_name": secrets.token_hex(4)}, bearer=account.pair["access_token"])] * 80
        renewed = [bytes_of("/auth/refresh", {"refresh_token": account.pair["refresh_token"]})] * 80
        registered = [bytes_of("/auth/register", {"email": new_email(), "password": PASSWORD}) for _ in range(10)]
        cut = [request[:-5] for request in (named[0], renewed[0], registered[0])] * 110
        await asyncio.gather(*(hang_up(stack, request) for request in (*named, *renewed, *registered, *cut)))
        await assert_at_rest(stack)
        await eventually(is_served(client))
        await assert_at_rest(stack)
        assert stack.said("api", event="request_failed") == []
