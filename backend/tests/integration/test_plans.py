"""Every list and sweep finds its rows by an index: none has a statement that could only read a table as a whole."""

from collections.abc import Awaitable, Callable

import pytest
from httpx2 import URL, AsyncClient
from sqlmodel import SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.db import new_session
from app.core.declared import DECLARED
from app.core.sql import new_id
from app.crud import (
    change,
    heartbeat,
    lease,
    rotation,
    seal,
    session,
    task_queue,
    task_ring,
    task_run,
    task_schedule,
    task_waiting,
)
from app.crud import user as users
from app.main import app
from app.models import User
from app.models.user_session import UserSession
from app.schemas.pages import Window
from app.services import maintenance
from tests.flows import V1
from tests.plans import asked, read_from_end_to_end, scanned_directly
from tests.public import lists
from tests.staff import id_of, with_roles

WHOLE_ADDRESS = "grace@example.com"
LISTS = [
    "/users/me/sessions",
    "/users/me/security-events",
    "/tasks",
    "/tasks?status=failed",
    "/tasks?task_type=sweep",
    "/admin/users",
    f"/admin/users?q={WHOLE_ADDRESS}",
    "/admin/users?role=admin",
    "/admin/tasks",
    "/admin/tasks?status=failed",
    "/admin/tasks?user_id={id}",
    "/admin/audit",
    "/admin/audit?actor_id={id}",
    "/admin/audit?action=session_opened",
    "/admin/audit?since=2026-01-01T00:00:00Z",
    "/admin/config",
    "/admin/config/{key}/history",
]
QUEUES = ("default", "mail")
TASK, ATTEMPT = new_id(), 1


async def _feed(db: AsyncSession) -> None:
    connection = await db.connection()
    await change.since(connection, await change.here(connection))


SWEEPS: dict[str, Callable[[AsyncSession], Awaitable[object]]] = {
    **{f"purge {name}": step for name, step in maintenance.STEPS.items() if name != "users"},
    "purge users": lambda db: users.purge_unverified(db, before=utc_now(), most=100),
    "ring due": lambda db: task_ring.ring_due(db, "default", 5, most=100),
    "due places": lambda db: task_ring.due_places(db, QUEUES),
    "any lapsed": task_ring.any_lapsed,
    "give up": task_ring.give_up,
    "rest lapsed": task_ring.rest_lapsed,
    "ring lapsed": lambda db: task_ring.ring_lapsed(db, most=100),
    "queued": task_ring.queued,
    "unring": lambda db: task_ring.unring(db, [TASK]),
    "claim": lambda db: task_run.claim(db, [TASK], max_attempts=3),
    "renew": lambda db: task_run.renew(db, [(TASK, ATTEMPT)]),
    "asked to stop": lambda db: task_run.asked_to_stop(db, [(TASK, ATTEMPT)]),
    "succeed": lambda db: task_run.succeed(db, [(TASK, ATTEMPT)]),
    "give back": lambda db: task_run.give_back(db, [(TASK, ATTEMPT)]),
    "oldest": lambda db: task_waiting.oldest(db, "default"),
    "measure": lambda db: task_waiting.measure(db, QUEUES),
    "stands still": lambda db: task_waiting.stands_still(db, QUEUES),
    "loads": task_queue.loads,
    "pause": lambda db: task_queue.pause(db, "default"),
    "schedules": task_schedule.known,
    "lease": lambda db: lease.is_anothers(db, "sealer", new_id()),
    "alive": lambda db: heartbeat.alive(db, "worker"),
    "seals": seal.newest,
    "unsealed": lambda db: seal.waiting(db, most=100),
    "feed": _feed,
    "end all": lambda db: session.revoke_all(db, new_id(), but=None, reason="test", now=utc_now()),
    "end oldest": lambda db: session.revoke_oldest(db, new_id(), but=new_id(), keep=9, now=utc_now()),
}


@pytest.mark.parametrize("path", LISTS)
async def test_a_list_finds_its_rows_by_an_index(client: AsyncClient, path: str) -> None:
    admin = await with_roles(client, "admin")
    url = URL(f"{V1}{path.format(id=await id_of(admin), key=next(iter(DECLARED)))}")
    route = f"{V1}{path.partition('?')[0]}"
    later = Window.at(route, 1, None).cursor(new_id())
    with asked() as statements:
        for sent in ({}, {"cursor": later}):
            answer = await client.get(url.copy_merge_params({"limit": "1", **sent}), headers=admin.bearer)
            assert answer.status_code == 200, answer.text
    assert statements
    assert await read_from_end_to_end(statements) == {}


def test_every_list_of_the_contract_is_asked_for() -> None:
    assert {f"{V1}{path.partition('?')[0]}" for path in LISTS} == set(lists(app.openapi()))


@pytest.mark.parametrize("sweep", SWEEPS)
async def test_a_sweep_finds_its_rows_by_an_index(client: AsyncClient, sweep: str) -> None:
    with asked() as statements:
        async with new_session() as db:
            await SWEEPS[sweep](db)
            await db.rollback()
    assert statements
    assert await read_from_end_to_end(statements) == {}


@pytest.mark.stack(name="server")
async def test_a_rotation_finds_its_rows_by_an_index() -> None:
    now, one = utc_now(), [new_id()]
    assert await scanned_directly(rotation._living(), ids=one, now=now) == []
    turn = {"ids": one, "spent": [1], "tokens": ["a"], "until": [now], "now": now}
    assert await scanned_directly(rotation._turn(), **turn) == []


async def test_what_has_no_index_is_told(client: AsyncClient) -> None:
    with asked() as statements:
        async with new_session() as db:
            await db.exec(select(User).where(User.full_name == "Ada"))
            await db.exec(select(UserSession).where(col(UserSession.revoked_at).is_not(None)))
    assert (await read_from_end_to_end(statements)).keys() == {"users", "user_sessions"}


def test_every_foreign_key_has_an_index() -> None:
    """Else deleting an account reads each of those tables as a whole."""
    for table in SQLModel.metadata.tables.values():
        led = {next(iter(index.columns)).name for index in table.indexes if not index.dialect_kwargs}
        led |= {next(iter(table.primary_key.columns)).name}
        led |= {column.name for column in table.columns if column.unique}
        for key in table.foreign_keys:
            assert key.parent.name in led, f"{table.name}.{key.parent.name}"
