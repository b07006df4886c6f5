"""A mail server that is away, puts off, hangs, and refuses: registrations go on, and each mail arrives once."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from httpx2 import AsyncClient
from redis.asyncio import Redis as Client
from sqlmodel import col, select, update

from app.core.sql import db_now
from app.models import BackgroundTask, TaskStatus, User
from tests.faults.conftest import starting
from tests.faults.load import load
from tests.faults.mail_server import HANG, HOLD, Moody
from tests.faults.proxy import END_OF_DATA, Proxy
from tests.faults.recorder import Recorder, session, settled
from tests.faults.stack import Stack, rounds
from tests.flows import V1, Account
from tests.inbox import Inbox
from tests.processes import free_port
from tests.services import Services
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(900)
ENOUGH = rounds(105, 14)
"""Tries of a mail: as many as four hours hold on average; in the short form more than twelve, which were too few."""


@dataclass
class Office:
    """A stack, and the mail server that it sends to over a way that may break."""

    stack: Stack
    inbox: Inbox
    way: Proxy

    @property
    def moods(self) -> Moody:
        assert isinstance(self.inbox.catcher, Moody)
        return self.inbox.catcher

    async def promise(self, account: Account) -> BackgroundTask | None:
        """The account's mail, while it has one."""
        async with session(self.stack.database) as db:
            found = select(BackgroundTask).join(User).where(User.email == account.email)
            return (await db.exec(found)).first()

    async def ended(self, account: Account, *, hurry: bool = False) -> BackgroundTask:
        async def has_ended() -> BackgroundTask | None:
            if hurry:
                await self.hurry()
            row = await self.promise(account)
            return row if row and row.status in (TaskStatus.succeeded, TaskStatus.failed) else None

        row: BackgroundTask = await eventually(has_ended, within=60)
        return row

    async def hurry(self) -> None:
        """Have what waits for its next try be due now: the pauses are moved through, not slept through."""
        async with session(self.stack.database, read_only=False) as db:
            waiting = col(BackgroundTask.status) == TaskStatus.pending
            await db.exec(update(BackgroundTask).where(waiting).values(run_at=db_now()))
            await db.commit()
        async with Client.from_url(self.stack.env["REDIS_URL"]) as redis:
            await redis.publish(self.stack.env["REDIS_PREFIX"] + "wake", "1")


@pytest.fixture(scope="module")
async def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    inbox = Inbox(Path(tmp_path_factory.mktemp("mailbox")), port := free_port(), Moody)
    with Proxy(f"smtp://127.0.0.1:{port}") as way:
        async with starting(services) as start:
            yield Office(await start(SMTP_URL=way.url), inbox, way)
    inbox.stop()


@pytest.fixture
def office(running: Office) -> Office:
    running.inbox.mailbox.clear()
    running.way.restore()
    running.moods.greylists = False
    return running


@pytest.fixture
async def client(office: Office) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(base_url=office.stack.addresses[0], trust_env=False, timeout=30) as one:
        yield one


async def register(client: AsyncClient, account: Account | None = None) -> Account:
    account = account or Account(client)
    assert (await account.register()).status_code == 201
    return account


async def test_a_mail_waits_for_a_server_that_is_away_for_hours(office: Office, client: AsyncClient) -> None:
    office.way.refuse()
    accounts = [await register(client) for _ in range(3)]

    rows: list[BackgroundTask] = []

    async def tried() -> bool:
        await office.hurry()
        rows[:] = [row for account in accounts if (row := await office.promise(account))]
        return all(row.attempts >= ENOUGH or row.status == TaskStatus.failed for row in rows)

    await eventually(tried, within=600)
    assert [row.attempts for row in rows if row.status == TaskStatus.failed] == []
    office.way.restore()
    for account in accounts:
        assert (await office.ended(account, hurry=True)).status == TaskStatus.succeeded
        assert len(office.inbox.received(account.email)) == 1


async def test_a_mail_that_is_put_off_arrives_at_its_next_try(office: Office, recorder: Recorder) -> None:
    office.moods.greylists = True
    async with load(office.stack.addresses[0], recorder):
        await recorder.answered(rounds(100, 10))
    print(await settled(recorder, office.stack, office.inbox, mails=1, alone=False))


async def test_a_server_that_hangs_after_the_message_gets_the_same_mail_again(
    office: Office, client: AsyncClient
) -> None:
    account, other = Account(client), Account(client)
    office.moods.to_message[account.email] = [HANG]
    await register(client, account)
    await office.inbox.wait_for(account.email)
    await register(client, other)
    await office.inbox.wait_for(other.email)
    assert (await office.ended(account)).attempts == 2
    first, second = office.inbox.received(account.email)
    assert first.message_id == second.message_id


async def test_where_the_answer_to_the_message_is_lost_the_same_mail_comes_again(
    office: Office, recorder: Recorder
) -> None:
    office.way.drop_reply(END_OF_DATA, each=2)
    async with load(office.stack.addresses[0], recorder):
        await recorder.answered(rounds(100, 10))
    await eventually(lambda: office.way.cuts >= rounds(50, 5))
    office.way.restore()
    print(f"cuts={office.way.cuts} {await settled(recorder, office.stack, office.inbox, alone=False)}")


@pytest.mark.parametrize("at", ["recipient", "message"])
async def test_a_mail_that_is_refused_for_good_is_not_tried_again(office: Office, client: AsyncClient, at: str) -> None:
    account = Account(client)
    office.moods.refusals(at)[account.email] = [f"550 5.1.1 <{account.email}>: nobody of that name"] * 20
    await register(client, account)

    async def tried() -> BackgroundTask | None:
        row = await office.promise(account)
        return row if row and row.attempts and row.status != TaskStatus.running else None

    row = await eventually(tried)
    assert (row.status, row.attempts) == (TaskStatus.failed, 1)
    assert account.email not in f"{row.error_code} {row.error_detail}"
    assert office.inbox.received(account.email) == []


@pytest.mark.parametrize("at", ["recipient", "message"])
async def test_a_mail_that_is_refused_for_now_is_tried_again(office: Office, client: AsyncClient, at: str) -> None:
    account = Account(client)
    office.moods.refusals(at)[account.email] = ["452 4.2.2 The mailbox is full"]
    await register(client, account)
    row = await office.ended(account, hurry=True)
    assert (row.status, row.attempts) == (TaskStatus.succeeded, 2)
    assert len(office.inbox.received(account.email)) == 1


async def test_an_account_that_is_deleted_while_its_mail_is_sent_leaves_nothing(
    office: Office, client: AsyncClient
) -> None:
    for _ in range(rounds(20, 3)):
        account = Account(client)
        office.moods.to_message[account.email] = [HOLD]
        await register(client, account)
        await account.login()
        await eventually(lambda email=account.email: email in office.moods.held)
        row = await office.promise(account)
        assert row
        assert (await client.delete(f"{V1}/users/me", headers=account.bearer)).status_code == 204
        office.moods.release()
        said = partial(office.stack.said, "worker", task_id=str(row.id))
        await eventually(lambda said=said: "task_finished" in {line["event"] for line in said()})
        assert [line["outcome"] for line in said() if line["event"] == "task_finished"] == ["fenced"]
        assert {line["level"] for line in said()} <= {"debug", "info"}
        async with session(office.stack.database) as db:
            assert await db.get(BackgroundTask, row.id) is None
