"""Migrations that are killed, and one in the expand/contract way under old and new code that serve requests."""

import asyncio
import secrets
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
from httpx2 import AsyncClient, Response

from app.tools import migrate
from tests import rows
from tests.databases import own_database
from tests.faults.conftest import Start
from tests.faults.stack import MAIN, Role, rounds
from tests.flows import PASSWORD, Account, new_email
from tests.locks import WAITING, open_transaction, watched
from tests.processes import tail
from tests.schema import answer, connected, look, shape
from tests.services import BACKEND, Services, execute
from tests.trees import BACKFILL, CONTRACT, EXPAND, INDEX, Tree
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(900)
MANY = rounds(500, 20)  # requests in each state of the schema
USERS = rounds(50_000, 2_000)
WAIT = 1.0  # seconds that a request may wait for a migration
A_FIELD = "    is_verified: bool = False\n"
THE_COLUMN = '    time_zone: str | None = Field(default="Europe/Berlin", max_length=64)\n'


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "alembic")


def next_release(folder: Path) -> Role:
    """The service as it is, with the column in its model, in `folder`."""
    shutil.copytree(BACKEND / "app", folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    model = folder / "app" / "models" / "user.py"
    before = model.read_text()
    model.write_text(before.replace(A_FIELD, A_FIELD + THE_COLUMN))
    assert model.read_text() != before
    return Role("serve", main=f"import sys; sys.path.insert(0, {str(folder)!r}); {MAIN}")


async def fill(url: str, users: int) -> None:
    given = {"users.email": lambda n: f"{n}-{secrets.token_hex(4)}@example.com"}
    async with connected(url) as connection:
        await connection.run_sync(
            lambda sync: rows.insert(sync, rows.make(users, tables=("users",), seed=users, given=given))
        )


# --- kill -9 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("revisions", ["released", "example"])
async def test_a_migration_may_be_killed_after_any_statement(
    services: Services, tree: Tree, tmp_path: Path, revisions: str
) -> None:
    """Run again, it ends in the same schema, with every row filled."""
    url, log = own_database(services, "killed"), services.log(f"killed-{secrets.token_hex(4)}")
    below, step, unfilled = "base", rounds(2, 29), "SELECT 0"
    if revisions == "example":
        below, step, unfilled = migrate.head(), rounds(1, 9), "SELECT count(*) FROM users WHERE time_zone IS NULL"
        await fill(url, 50)
        tree.add_example(batch=20)
        tree.upgrade(url)
    whole = await look(url, shape)
    tree.downgrade(url, below)
    kills, statement = 0, 1
    while True:
        told = tmp_path / str(statement)
        process = tree.start(log, url, STOP_AFTER=str(statement), STOPPED=str(told))
        await eventually(lambda: told.exists() or process.poll() is not None)  # noqa: B023 - awaited in this round
        if not told.exists():
            assert process.wait() == 0, tail(log)
            break
        process.kill()
        process.wait()
        kills += 1
        tree.upgrade(url)
        assert await look(url, shape) == whole, told.read_text()
        assert await answer(url, unfilled) == 0
        tree.downgrade(url, below)
        statement += step
    print(f"killed after statement 1, {1 + step}, …: {kills} times")
    assert kills >= rounds(27, 3)
    assert await look(url, shape) == whole


# --- beside a service -------------------------------------------------------------------------------------------------


@dataclass
class Clients:
    """They register, sign in, refresh and read, on and on; each answer is noted."""

    address: str
    answers: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    longest: float = 0.0
    """Seconds, of a request."""
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    async def _work(self) -> None:
        async with AsyncClient(base_url=self.address, timeout=30, trust_env=False) as client:
            while not self._over.is_set():
                account = Account(client, new_email(), PASSWORD)
                if not await self._passes("register", account.register) or not await self._passes(
                    "login", account.login
                ):
                    continue
                for _ in range(3):
                    await self._passes("me", account.me)
                    if renewed := await self._passes("refresh", account.refresh):
                        account.pair = renewed.json()

    async def _passes(self, name: str, call: Callable[[], Awaitable[Response]]) -> Response | None:
        began = time.monotonic()
        answered = await call()
        self.longest = max(self.longest, time.monotonic() - began)
        self.answers[name] += 1
        if answered.is_success:
            return answered
        self.failed.append(f"{name}: {answered.status_code} {answered.text}")
        return None

    async def some_more(self) -> None:
        enough = self.answers.total() + MANY
        await eventually(lambda: self.answers.total() >= enough, within=120)

    @asynccontextmanager
    async def working(self, clients: int = 2) -> AsyncIterator[Self]:
        tasks = [asyncio.create_task(self._work()) for _ in range(clients)]
        try:
            yield self
        finally:
            self._over.set()
            await asyncio.gather(*tasks)


async def test_old_and_new_code_serve_while_a_column_comes(
    start: Start, services: Services, tree: Tree, tmp_path: Path
) -> None:
    server = services.stack == "server"
    url, log = own_database(services, "beside"), services.log(f"beside-{secrets.token_hex(4)}")
    await fill(url, USERS)
    tree.add_example()
    stack = await start({"old": Role("serve")}, DATABASE_URL=url)
    took: dict[str, float] = {}

    async def migrated(revision: str) -> None:
        began = time.monotonic()
        process = tree.start(log, url, "upgrade", revision)
        assert await asyncio.to_thread(process.wait, 300) == 0, tail(log)
        took[revision] = round(time.monotonic() - began, 1)

    old = Clients(stack.addresses[0])
    async with AsyncExitStack() as until_the_end:
        waits = await until_the_end.enter_async_context(watched(url)) if server else None
        async with old.working():
            await old.some_more()
            async with open_transaction(url, "SELECT 1 FROM users") if server else nullcontext() as report:
                expanding = asyncio.create_task(migrated(EXPAND))
                for _ in range(3 if server else 0):  # a report that takes long: what is waited for goes on
                    await eventually(lambda: execute(url, WAITING))
                    await eventually(lambda: not execute(url, WAITING))
                if report:
                    await report.rollback()
                await expanding
            await migrated(INDEX)
            await old.some_more()
            newer = await start({"new": next_release(tmp_path)}, DATABASE_URL=url)
            new = await until_the_end.enter_async_context(Clients(newer.addresses[0]).working())
            await new.some_more()
            await migrated(BACKFILL)
            await old.some_more()
        await asyncio.to_thread(stack.stop, "old")
        await migrated(CONTRACT)
        await new.some_more()
    print(
        f"old {dict(old.answers)}, longest {old.longest:.2f} s; new {dict(new.answers)}, longest {new.longest:.2f} s; "
        f"longest wait for a lock {f'{waits.longest:.2f} s' if waits else 'unknown'}; migrations {took} s"
    )
    assert old.failed + new.failed == [], stack.report() + newer.report()
    if waits:
        assert waits.looks > 0
        assert waits.longest < WAIT
    assert await answer(url, "SELECT count(*) FROM users WHERE time_zone = 'Europe/Berlin'") > 0
