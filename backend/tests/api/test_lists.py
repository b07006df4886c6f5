"""Every list of the contract asks the same few statements whatever its length, for the columns that it shows."""

import re
import secrets
from datetime import UTC, datetime
from uuid import UUID

import pytest
from httpx2 import AsyncClient

from app.core.db import new_session
from app.core.declared import DECLARED
from app.main import app
from app.models import TaskStatus
from tests import rows
from tests.counting import statements
from tests.fixtures import SameCost
from tests.flows import V1, Account
from tests.public import lists
from tests.rows import Row, Value
from tests.staff import id_of, with_roles

KEY = next(iter(DECLARED))
AUDITED = ("audit_events", "audit_origins")
ROWS: dict[str, tuple[str, ...]] = {
    f"{V1}/users/me/sessions": ("user_sessions",),
    f"{V1}/users/me/security-events": AUDITED,
    f"{V1}/tasks": ("background_tasks",),
    f"{V1}/admin/users": ("users",),
    f"{V1}/admin/tasks": ("background_tasks",),
    f"{V1}/admin/audit": AUDITED,
    f"{V1}/admin/config": ("config_revisions",),
    f"{V1}/admin/config/{{key}}/history": ("config_revisions",),
}
"""The tables behind each list."""
MORE: dict[str, set[str]] = {
    "background_tasks": {"error_code", "error_detail", "user_id", "queue", "priority", "dedupe_key", "lease_until",
                         "cancel_requested", "revision"},
    "users": {"locale"},
    "audit_events": {"origin"},
    "audit_origins": {"event_id", "ip", "user_agent"},
    "config_revisions": {"id", "key", "after", "before", "comment", "actor_id", "created_at"},
    "user_sessions": {"id"},
}  # fmt: skip
"""What is read beside what is shown: short columns of the same row, and what an item is worked out from."""


def of(owner: UUID) -> dict[str, Value]:
    """Rows that are that account's and stand in its lists."""
    key = list(DECLARED)
    return {
        "users.email": lambda n: f"{n}-{secrets.token_hex(4)}@example.com",
        "user_sessions.user_id": lambda n: owner,
        "user_sessions.session_token": lambda n: secrets.token_hex(32),
        "user_sessions.revoked_at": lambda n: None,
        "user_sessions.expires_at": lambda n: datetime(2999, 1, 1, tzinfo=UTC),
        "background_tasks.user_id": lambda n: owner,
        "background_tasks.status": lambda n: TaskStatus.succeeded,
        "background_tasks.task_type": lambda n: "sweep",
        "audit_events.actor_id": lambda n: owner,
        "audit_events.target_id": lambda n: str(owner),
        "audit_events.target_type": lambda n: "user",
        "audit_events.action": lambda n: "session_opened",
        "audit_origins.user_id": lambda n: owner,
        "config_revisions.key": lambda n: KEY if n % 2 else key[n % len(key)],
        "config_revisions.revision": lambda n: n + 1,
        "config_revisions.after": lambda n: None,
    }


async def add(list_: str, owner: UUID, first: int, number: int) -> dict[str, list[Row]]:
    made = rows.make(number, tables=ROWS[list_], seed=secrets.randbits(64), first=first, given=of(owner))
    async with new_session() as db:
        await db.run_sync(lambda session: rows.insert(session.connection(), made))
        await db.commit()
    return made


@pytest.fixture
async def admin(client: AsyncClient) -> Account:
    return await with_roles(client, "admin")


@pytest.fixture
async def owner(admin: Account) -> UUID:
    return await id_of(admin)


def test_every_list_of_the_contract_is_looked_at() -> None:
    assert set(lists(app.openapi())) == ROWS.keys()


@pytest.mark.parametrize("path", ROWS)
async def test_a_long_list_costs_no_more_statements_than_a_short_one(
    admin: Account, owner: UUID, path: str, same_cost: SameCost
) -> None:
    await add(path, owner, 0, 2)
    # Nobody deletes what was audited, so that the list of all has the events of earlier tests, too.
    asked = {"limit": 100, "actor_id": str(owner)} if path.endswith("/admin/audit") else {"limit": 100}

    async def read() -> int:
        answer = await admin.client.get(path.format(key=KEY), params=asked, headers=admin.bearer)
        assert answer.status_code == 200, answer.text
        return len(answer.json()["items"])

    async def more() -> object:
        return await add(path, owner, 2, 40)

    short, long = await same_cost(read, more)
    assert path.endswith("/config") or long >= short + 20


@pytest.mark.parametrize("path", ROWS)
async def test_a_list_reads_what_it_shows(admin: Account, owner: UUID, path: str) -> None:
    await add(path, owner, 0, 2)
    with statements() as asked:
        answer = await admin.client.get(path.format(key=KEY), headers=admin.bearer)
    shown = set(answer.json()["items"][0])
    read = [(table, column) for table, column in columns(asked) if table in ROWS[path]]
    assert {table for table, _ in read} == set(ROWS[path])
    beside = {f"{table}.{column}" for table, column in read if column not in shown | MORE.get(table, set())}
    assert beside == set()


def columns(asked: list[str]) -> list[tuple[str, str]]:
    """The columns that were selected, of which table."""
    found: list[tuple[str, str]] = []
    for statement in asked:
        selected = re.match(r"SELECT (.*?)\s+FROM ", " ".join(statement.split()))
        found += re.findall(r"(\w+)\.(\w+)(?: AS \w+)?(?:,|$)", selected[1]) if selected else []
    return found


async def test_a_loop_of_statements_is_found(admin: Account, owner: UUID, same_cost: SameCost) -> None:
    asks = 1

    async def read() -> int:
        for _ in range(asks):
            await admin.client.get(f"{V1}/users/me/sessions", headers=admin.bearer)
        return asks

    async def more() -> None:
        nonlocal asks
        asks = 2

    with pytest.raises(AssertionError, match="more statements"):
        await same_cost(read, more)
