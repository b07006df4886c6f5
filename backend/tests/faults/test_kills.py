"""`kill -9` of anything at any moment: what was answered with 2xx is stored, once, and its mail arrives."""

import sqlite3
from functools import partial

import anyio
import pytest
from httpx2 import AsyncClient

from tests.faults.conftest import Start
from tests.faults.load import load
from tests.faults.recorder import Recorder, settled
from tests.faults.stack import NeverSent, Role, Stack, answering, attempt, kill_at_random, rounds
from tests.flows import V1, Account
from tests.inbox import Inbox
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(900)


async def test_every_registration_answered_201_is_stored_once_and_its_mail_arrives(
    start: Start, recorder: Recorder, smtp: Inbox
) -> None:
    stack, done = await start(), anyio.Event()
    async with anyio.create_task_group() as together, load(stack.addresses[0], recorder, clients=4):
        together.start_soon(partial(kill_at_random, stack, pause=(0.5, 3.0), done=done))
        await recorder.answered(rounds(200, 40))
        done.set()
    print(f"kills={stack.kills} {await settled(recorder, stack, smtp)}")


@pytest.mark.stack(name="embedded")
async def test_one_sqlite_file_is_written_by_all_of_them_under_kills(start: Start) -> None:
    serve, relay = Role("serve"), Role("scheduler")
    stack = await start({"api": serve, "api-2": serve, "worker": Role("worker"), "relay": relay, "relay-2": relay})
    wanted, stored, done = rounds(100, 20), {}, anyio.Event()
    async with anyio.create_task_group() as together:
        together.start_soon(_kill_quickly, stack, stored, wanted, done)
        for number in range(4):
            together.start_soon(_count_up, stack.addresses[number % 2], stored, done)
    await stack.ready()
    stack.end()
    assert "database is locked" not in stack.logged()
    with sqlite3.connect(stack.database.removeprefix("sqlite:///")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        names = dict(db.execute("SELECT email, full_name FROM users").fetchall())
        tasks = db.execute("SELECT count(*) FROM background_tasks WHERE user_id IS NOT NULL").fetchone()[0]
    updates = 0
    for email, (acknowledged, tried) in stored.items():
        assert acknowledged <= int(names[email] or 0) <= tried, email
        updates += acknowledged
    assert tasks == len(names)
    assert updates, "nothing was written: nothing was shown"
    print(f"kills={stack.kills} updates={updates} users={len(names)}")


async def _kill_quickly(stack: Stack, stored: dict[str, tuple[int, int]], wanted: int, done: anyio.Event) -> None:
    await eventually(lambda: any(acknowledged for acknowledged, _ in stored.values()), within=120)
    await kill_at_random(stack, pause=(0.3, 0.9), done=done, enough=wanted)


async def _count_up(address: str, stored: dict[str, tuple[int, int]], done: anyio.Event) -> None:
    """Write 1, 2, 3, … into one's own name; what was answered with 200 may never be smaller in the file."""
    async with AsyncClient(base_url=address, timeout=20) as client:
        account: Account | None = None
        while not done.is_set():
            try:
                if account is None:
                    account = await _signed_in(client)
                else:
                    await _count(account, stored)
            except NeverSent:
                await answering(address)


async def _signed_in(client: AsyncClient) -> Account | None:
    fresh = Account(client)
    for step in (fresh.register, fresh.login):
        answer = await attempt(step)
        if answer is None or not answer.is_success:
            return None
    return fresh


async def _count(account: Account, stored: dict[str, tuple[int, int]]) -> None:
    acknowledged, tried = stored.get(account.email, (0, 0))
    stored[account.email] = (acknowledged, tried + 1)
    body = {"full_name": str(tried + 1)}
    answer = await attempt(partial(account.client.put, f"{V1}/users/me", json=body, headers=account.bearer))
    if answer is not None and answer.status_code == 200:
        stored[account.email] = (tried + 1, tried + 1)
