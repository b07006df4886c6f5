"""The fixtures that every test may ask for. Nothing here imports `app` before the environment stands."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from httpx2 import ASGITransport, AsyncClient, Request

from tests.leaks import secrets_in
from tests.services import Services

if TYPE_CHECKING:
    from fastapi import FastAPI
    from sqlmodel.ext.asyncio.session import AsyncSession

    from tests.flows import Account
    from tests.inbox import Inbox
    from tests.stack import Server, Worker

NewClient = Callable[..., AsyncClient]
SameCost = Callable[[Callable[[], Awaitable[Any]], Callable[[], Awaitable[Any]]], Awaitable[tuple[Any, Any]]]


@pytest.fixture(scope="session")
def services(request: pytest.FixtureRequest) -> Services:
    from tests.conftest import SERVICES

    return request.config.stash[SERVICES]


@pytest.fixture(scope="session")
async def app() -> "AsyncIterator[FastAPI]":
    """The real application, started as a server starts it: its lifespan runs, in a task of its own."""
    from app.core import logging
    from app.core.db import dispose
    from app.main import app as application

    logging.set_up("api")  # a test that captured log lines before has left another form behind

    started, stopping = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with application.router.lifespan_context(application):
            started.set()
            await stopping.wait()

    life = asyncio.create_task(live())
    starting = asyncio.create_task(started.wait())
    await asyncio.wait({life, starting}, return_when=asyncio.FIRST_COMPLETED)
    if life.done():
        starting.cancel()
        await life
    yield application
    stopping.set()
    await life
    await dispose()


@pytest.fixture
async def db() -> "AsyncIterator[AsyncSession]":
    """A session of the test's own. What it did is committed before a client of this test sends its next request."""
    from app.core.db import new_session

    async with new_session() as session:
        yield session
        await session.rollback()


@pytest.fixture
async def new_client(app: "FastAPI", request: pytest.FixtureRequest, services: Services) -> AsyncIterator[NewClient]:
    """Make another client: its own cookies, its own address (`client_address`), or of another server (`base_url`)."""
    from app.core.config import settings

    session: AsyncSession | None = request.getfixturevalue("db") if "db" in request.fixturenames else None
    worker_id = getattr(request.config, "workerinput", {"workerid": "main"})["workerid"]
    sent = Path(services.folder) / f"secrets-{worker_id}"

    async def before(request: Request) -> None:
        if session is not None:  # on SQLite its transaction would keep the request from writing
            await session.commit()
            session.expunge_all()
        _remember_secrets(request, sent)

    async with AsyncExitStack() as open_clients:

        def make(base_url: str = "", client_address: str = "127.0.0.1", **options: Any) -> AsyncClient:
            transport = ASGITransport(app, raise_app_exceptions=False, client=(client_address, 50_000))
            options.setdefault("event_hooks", {"request": [before]})
            options.setdefault("timeout", 30)  # s; the machine may be busy with other tests
            client = AsyncClient(
                base_url=base_url or settings.public_url,
                transport=None if base_url else transport,
                trust_env=False,
                **options,
            )
            open_clients.push_async_callback(client.aclose)
            return client

        yield make


@pytest.fixture
def client(new_client: NewClient) -> AsyncClient:
    """A client of the real application, over ASGI."""
    return new_client()


def _remember_secrets(request: Request, file: Path) -> None:
    """No log line may repeat what stands in the request under the name of a secret."""
    try:
        found = [secret for secret in secrets_in(json.loads(request.content)) if secret.isprintable()]
    except Exception:  # noqa: BLE001 - malformed on purpose, or a stream: nothing can be read from it
        return
    with file.open("a", errors="replace") as log:
        log.writelines(f"{secret}\n" for secret in found)


@pytest.fixture
async def login(client: AsyncClient) -> "Callable[..., Awaitable[Account]]":
    """Sign in: `await login()` as a new account, `await login(account)` once more as that one."""
    from tests.flows import Account, signed_in

    async def sign_in(known: "Account | None" = None, client: AsyncClient = client) -> "Account":
        if known is None:
            return await signed_in(client)
        again = Account(client, known.email, known.password)
        assert (await again.login()).status_code == 200
        return again

    return sign_in


@pytest.fixture
async def account(login: "Callable[..., Awaitable[Account]]") -> "Account":
    """A new account that has registered and signed in."""
    return await login()


class Clock:
    """Moves the process's clock. It starts right in every test."""

    def __init__(self) -> None:
        self.shift = timedelta(0)

    def advance(self, by: timedelta) -> None:
        from app.core import clock

        self.shift += by
        clock.shift(self.shift)


@pytest.fixture
def clock() -> Iterator[Clock]:
    from app.core import clock as real

    yield Clock()
    real.shift(timedelta(0))


@pytest.fixture
def same_cost() -> "SameCost":
    """Fail on N+1: `await same_cost(read, more)` reads, has `more` rows made, and reads as many statements again.

    What `read` answers comes back, of the first time and the second.
    """
    from tests.counting import statements

    async def check(read: Callable[[], Awaitable[Any]], more: Callable[[], Awaitable[Any]]) -> tuple[Any, Any]:
        await read()  # what a process asks only once
        with statements() as few:
            short = await read()
        await more()
        for _ in range(3):  # what is asked once a second may come in between, a loop's statements come each time
            with statements() as many:
                long = await read()
            if len(many) <= len(few):
                break
        added = "\n".join(one for one, number in (Counter(many) - Counter(few)).items() for _ in range(number))
        assert len(many) <= len(few), f"{len(many)} in place of {len(few)} statements; more statements:\n{added}"
        return short, long

    return check


@pytest.fixture
async def clean() -> AsyncIterator[None]:
    """Afterwards every table is empty but those that say what the database is and who lives on it."""
    yield
    from tests.cleaning import empty_tables

    await empty_tables()


@pytest.fixture(scope="session")
def inbox() -> "Iterator[Inbox]":
    """The SMTP server of this process, at SMTP_URL."""
    from app.core.config import settings
    from tests.inbox import Inbox

    port = int(settings.smtp_url.rpartition(":")[2])
    caught = Inbox(settings.data_dir / "mailbox", port)
    yield caught
    caught.stop()


@pytest.fixture
def smtp(inbox: "Inbox") -> "Inbox":
    """A real SMTP server, empty at first, that everything of this stack sends to."""
    inbox.mailbox.clear()
    return inbox


@pytest.fixture(scope="session")
async def worker(services: Services, inbox: "Inbox") -> "AsyncIterator[Worker]":
    """A real Celery worker and a scheduler, each a process of its own, on this process's stack."""
    from tests.stack import Worker

    running = Worker(services)
    try:
        await running.ready()
        yield running
    finally:
        running.stop()


@pytest.fixture
async def server(services: Services) -> "AsyncIterator[Callable[..., Awaitable[Server]]]":
    """Start `neoforge serve` as a process: `await server(ENVIRONMENT="production", …)`. Ends with the test."""
    from tests.stack import Server

    started: list[Server] = []

    async def start(*arguments: str, **env: str) -> "Server":
        started.append(Server(services, arguments, env))
        await started[-1].ready()
        return started[-1]

    yield start
    for one in started:
        one.stop()
