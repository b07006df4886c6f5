"""Reading the audit: all of it for those who may, and what happened to the own account for everybody."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from httpx2 import AsyncClient
from sqlmodel import col, delete, select

from app.core.db import new_session
from app.models import Action, AuditEvent, AuditOrigin
from app.services import audit
from tests.factories import make_user
from tests.fixtures import Clock, NewClient
from tests.flows import V1, Account, problem, signed_in
from tests.staff import id_of, patch, with_roles

AUDIT, OWN = f"{V1}/admin/audit", f"{V1}/users/me/security-events"
FIELDS = {
    "id", "created_at", "actor_id", "action", "target_type", "target_id", "result", "ip", "user_agent", "request_id",
}  # fmt: skip


@pytest.fixture
async def auditor(client: AsyncClient) -> Account:
    return await with_roles(client, "support")


async def read(account: Account, path: str, **query: Any) -> list[dict[str, Any]]:
    """A whole list, page by page. The audit of other tests is in it too: nobody can empty it."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = {"limit": 3, **query, **({"cursor": cursor} if cursor else {})}
        answer = await account.client.get(path, params=page, headers=account.bearer)
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found


async def test_an_event_says_who_did_what_to_whom_and_from_where(auditor: Account, new_client: NewClient) -> None:
    client = new_client(client_address="192.0.2.77", headers={"User-Agent": "Tester/1.0"})
    account = Account(client)
    await account.register()
    signed = await account.login()
    answer = await auditor.client.get(AUDIT, params={"limit": 1}, headers=auditor.bearer)
    assert answer.headers["cache-control"] == "no-store"
    event = answer.json()["items"][0]
    user_id = str(await id_of(account))
    assert set(event) == FIELDS
    assert event["created_at"].endswith("Z")
    assert {name: event[name] for name in FIELDS - {"id", "created_at"}} == {
        "actor_id": user_id,
        "action": "session_opened",
        "target_type": "user",
        "target_id": user_id,
        "result": "success",
        "ip": "192.0.2.77",
        "user_agent": "Tester/1.0",
        "request_id": signed.headers["x-request-id"],
    }


async def test_the_audit_is_found_by_actor_action_and_time(auditor: Account, client: AsyncClient) -> None:
    before = datetime.now(UTC)
    one, other = await signed_in(client), await signed_in(client)
    ours = {str(await id_of(one)), str(await id_of(other))}
    await one.logout()

    async def found(**query: str) -> list[dict[str, Any]]:
        """Those of these two accounts: events of other tests stay for ever, some of a clock that was moved."""
        return [event for event in await read(auditor, AUDIT, limit="100", **query) if event["actor_id"] in ours]

    who = {"actor_id": str(await id_of(other))}
    assert [event["action"] for event in await read(auditor, AUDIT, **who)] == ["session_opened", "user_registered"]
    ended = await found(action="session_ended", since=before.isoformat())
    assert len(ended) == 1
    assert await read(auditor, AUDIT, action="session_ended", **who) == []
    assert await read(auditor, AUDIT, action="nothing_of_ours") == []
    since = await found(since=before.isoformat())
    assert [event["action"] for event in since] == [
        "session_ended", "session_opened", "user_registered", "session_opened", "user_registered",
    ]  # fmt: skip
    assert await found(since=since[1]["created_at"]) == since[:2]
    assert await found(since=(datetime.now(UTC) + timedelta(hours=1)).isoformat()) == []


@pytest.mark.parametrize(
    "query",
    [
        {"actor_id": "me"},
        {"action": "Drop Table"},
        {"action": "x" * 65},
        {"since": "yesterday"},
        {"since": "2026-11-23T12:00:00"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"since": "9999-12-31T23:59:59-14:00"},
        {"cursor": "x"},
    ],
)
async def test_a_query_that_does_not_fit_is_told(auditor: Account, query: dict[str, str]) -> None:
    answer = await auditor.client.get(AUDIT, params=query, headers=auditor.bearer)
    assert problem(answer) == (422, "validation_failed")
    assert answer.json()["errors"][0]["pointer"] == f"/query/{next(iter(query))}"


async def test_reading_is_not_audited_and_what_admins_do_is(client: AsyncClient, account: Account) -> None:
    admin = await with_roles(client, "admin")
    me, them = str(await id_of(admin)), await id_of(account)
    before = await read(admin, AUDIT, actor_id=me)
    await read(admin, AUDIT)
    await client.get(f"{V1}/admin/users/{them}", headers=admin.bearer)
    assert await read(admin, AUDIT, actor_id=me) == before
    await patch(admin, them, is_active=False)
    done = await read(admin, AUDIT, actor_id=me)
    assert [(event["action"], event["target_id"]) for event in done[:2]] == [
        ("session_ended", str(them)),
        ("user_disabled", str(them)),
    ]


async def test_an_owner_sees_what_happened_to_the_account(new_client: NewClient) -> None:
    client = new_client(client_address="198.51.100.3", headers={"User-Agent": "Home/2"})
    account = await signed_in(client)
    await client.put(f"{V1}/users/me", json={"full_name": "Ada"}, headers=account.bearer)
    stranger = Account(new_client(client_address="203.0.113.9"), account.email, "not-the-password-1")
    await stranger.login()
    events = await read(account, OWN)
    assert [set(event) for event in events] == [{"id", "created_at", "action", "ip", "user_agent"}] * 4
    assert [(event["action"], event["ip"]) for event in events] == [
        ("sign_in_failed", "203.0.113.9"),
        ("profile_updated", "198.51.100.3"),
        ("session_opened", "198.51.100.3"),
        ("user_registered", "198.51.100.3"),
    ]
    assert events[1]["user_agent"] == "Home/2"


async def test_an_owner_does_not_see_where_an_admin_sits(new_client: NewClient, account: Account) -> None:
    admin = await with_roles(new_client(client_address="192.0.2.200", headers={"User-Agent": "Desk"}), "admin")
    user_id = await id_of(account)
    await patch(admin, user_id, is_verified=True)
    await admin.client.delete(f"{V1}/admin/users/{user_id}/sessions", headers=admin.bearer)
    await account.login()
    events = {event["action"]: event for event in await read(account, OWN)}
    for action in ("user_verified", "session_ended"):
        assert (events[action]["ip"], events[action]["user_agent"]) == (None, None)
    whole = await read(admin, AUDIT, actor_id=str(await id_of(admin)), action="user_verified")
    assert (whole[0]["ip"], whole[0]["user_agent"]) == ("192.0.2.200", "Desk")


async def test_nobody_sees_what_happened_to_others(account: Account, client: AsyncClient) -> None:
    other = await signed_in(client)
    mine, theirs = await read(account, OWN), await read(other, OWN)
    assert {event["id"] for event in mine}.isdisjoint(event["id"] for event in theirs)
    # What was done to a thing that has an account's id by accident did not happen to the account.
    async with new_session() as db:
        await audit.record(
            db, Action.signing_key_rotated, actor=None, target=str(await id_of(account)), target_type="key"
        )
        await db.commit()
    assert await read(account, OWN) == mine


async def test_origins_that_went_leave_the_events(auditor: Account, account: Account) -> None:
    mine = await read(account, OWN)
    async with new_session() as db:
        await db.exec(delete(AuditOrigin))
        await db.commit()
    after = await read(account, OWN)
    assert after == [{**event, "ip": None, "user_agent": None} for event in mine]
    assert len(await read(auditor, AUDIT, actor_id=str(await id_of(account)))) == len(mine)


async def test_a_logout_is_told_once(account: Account) -> None:
    await account.logout()
    await account.logout()
    await account.login()
    assert [event["action"] for event in await read(account, OWN)][:3] == [
        "session_opened",
        "session_ended",
        "session_opened",
    ]


async def test_no_address_stands_in_an_event(db, client: AsyncClient, clock: Clock) -> None:
    """Whatever the tests of this process did before: nothing in any event is an address or a name of a mailbox."""
    user = await make_user(db)
    for email in (user.email, "nobody@example.com"):
        await Account(client, email, "not-the-password-1").login()
    async with new_session(read_only=True) as session:
        events = (await session.exec(select(AuditEvent).order_by(col(AuditEvent.id).desc()).limit(1000))).all()
    assert len(events) >= 2
    assert not [event for event in events if "@" in str(event.model_dump())]
