"""`kill -9` of anything at any moment: what was answered with 2xx is stored, once, and its mail arrives."""

import os
import sqlite3
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

import anyio
import pytest
from httpx2 import AsyncClient
from sqlmodel import col, select

from app.core.db import new_session
from app.models import BackgroundTask, User
from tests.faults.stack import NeverSent, Stack, answering, attempt, kill_at_random, rounds
from tests.flows import V1, Account, new_email
from tests.inbox import Inbox
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(900)
PROMISED = 60.0  # seconds from the last start to the last mail
ROLES = {"api": ["serve"], "worker": ["worker"], "scheduler": ["scheduler"]}


async def test_every_registration_answered_201_is_stored_once_and_its_mail_arrives(smtp: Inbox, tmp_path: Path) -> None:
    stack = Stack(tmp_path, ROLES, {})
    outcomes: dict[str, int | None] = {}
    wanted, done = rounds(200, 40), anyio.Event()
    stack.start_all()
    try:
        await stack.ready()
        async with anyio.create_task_group() as together:
            together.start_soon(partial(kill_at_random, stack, pause=(0.5, 3.0), done=done))
            for _ in range(4):
                together.start_soon(_register_on_and_on, stack.addresses[0], outcomes, wanted, done)
        answered = {email for email, status in outcomes.items() if status == 201}
        assert answered, Counter(outcomes.values())
        await eventually(lambda: answered <= _mails(smtp).keys(), within=PROMISED)
        waited = time.monotonic() - stack.last_start
    finally:
        stack.end()
    print(
        f"kills={stack.kills} outcomes={dict(Counter(outcomes.values()))} "
        f"every mail was there {waited:.1f} s after the last start"
    )
    assert waited <= PROMISED
    users, promised = await _stored(outcomes)
    mails = _mails(smtp)
    for email, status in outcomes.items():
        assert users[email] == promised[email] <= 1, (email, status)
        if status is not None:
            assert users[email] == (status == 201), (email, status)
        assert len(mails[email]) <= 1, "two different mails for one promise"


async def _register_on_and_on(address: str, outcomes: dict[str, int | None], wanted: int, done: anyio.Event) -> None:
    async with AsyncClient(base_url=address, timeout=20) as client:
        while len(outcomes) < wanted:
            account = Account(client, email=new_email())
            try:
                answer = await attempt(account.register)
            except NeverSent:
                await answering(address)
                continue
            outcomes[account.email] = answer.status_code if answer is not None else None
    done.set()


def _mails(smtp: Inbox) -> dict[str, set[str]]:
    """The mails to each address, by what they are called: one that was sent twice counts once."""
    found: dict[str, set[str]] = defaultdict(set)
    for mail in smtp.received():
        for address in mail.to:
            found[address].add(mail.message_id)
    return found


async def _stored(outcomes: dict[str, int | None]) -> tuple[Counter[str], Counter[str]]:
    async with new_session(read_only=True) as db:
        users = {
            user.id: user.email for user in (await db.exec(select(User).where(col(User.email).in_(outcomes)))).all()
        }
        owners = (await db.exec(select(BackgroundTask.user_id).where(col(BackgroundTask.user_id).in_(users)))).all()
    return Counter(users.values()), Counter(users[owner] for owner in owners if owner)


async def test_one_sqlite_file_is_written_by_all_of_them_under_kills(smtp: Inbox, tmp_path: Path) -> None:
    from app.tools import migrate

    file = tmp_path / "one.db"
    url = f"sqlite:///{file}"
    migrate.upgrade(url)
    roles = {
        "api": ["serve"],
        "api-2": ["serve"],
        "worker": ["worker"],
        "relay": ["scheduler"],
        "relay-2": ["scheduler"],
    }
    stack = Stack(tmp_path, roles, {"DATABASE_URL": url, "REDIS_PREFIX": os.environ["REDIS_PREFIX"] + "faults:"})
    wanted, stored, done = rounds(100, 20), {}, anyio.Event()
    stack.start_all()
    try:
        await stack.ready()
        async with anyio.create_task_group() as together:
            together.start_soon(_kill_quickly, stack, stored, wanted, done)
            for number in range(4):
                together.start_soon(_count_up, stack.addresses[number % 2], stored, done)
        await stack.ready()
    finally:
        stack.end()
    logged = stack.logged()
    assert "database is locked" not in logged
    with sqlite3.connect(file) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        names = dict(db.execute("SELECT email, full_name FROM users").fetchall())
        tasks = db.execute("SELECT count(*) FROM background_tasks").fetchone()[0]
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
