"""A deleted account leaves nothing about the person behind, but the audit's events, which know an id and no more."""

import json
import secrets
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from httpx2 import AsyncClient
from sqlalchemy import text
from sqlmodel import SQLModel, select

from app.core import redis
from app.core.clock import utc_now
from app.core.context import origin
from app.core.db import new_session
from app.core.security import read_access_token
from app.crud import principal
from app.models import AuditEvent, AuditOrigin, IdempotencyKey, KnownDevice, MailToken, TaskStatus, User
from app.services import erasure, user_cache
from tests.carrying import carry_out
from tests.collisions import deleted_meanwhile
from tests.factories import make_task
from tests.flows import PASSWORD, V1, Account, problem
from tests.waiting import eventually

OTHER_EMAIL = "needle-elsewhere@example.com"
NAME, AGENT, ADDRESS = "Aurelia Needleworth", "NeedleBrowser/7.1 (Haystack OS)", "198.51.100.77"
NETWORK = "198.51.100."
PSEUDONYMOUS = {"audit_events", "changes"}
"""Tables that may name the account by its id: the audit for ever, the feed of changes for an hour."""


async def live_a_life(client: AsyncClient) -> Account:
    """Do whatever leaves a trace, from one address with one browser."""
    account = Account(client)
    new = {"email": account.email, "password": PASSWORD, "full_name": NAME}
    once = {"Idempotency-Key": secrets.token_hex(8)}
    for _ in range(2):
        assert (await client.post(f"{V1}/auth/register", json=new, headers=once)).status_code == 201
    assert (await account.login()).status_code == 200
    assert (await account.logout()).status_code == 204
    wrong = {"email": account.email, "password": "not-the-password"}
    assert (await client.post(f"{V1}/auth/login", json=wrong)).status_code == 401
    assert (await account.login()).status_code == 200
    assert (await account.refresh()).status_code == 200
    again = {"password": PASSWORD}
    assert (await client.post(f"{V1}/auth/reauthenticate", json=again, headers=account.bearer)).status_code == 204
    assert (await client.put(f"{V1}/users/me", json={"full_name": NAME}, headers=account.bearer)).status_code == 200
    for path in ("password/forgot", "verify-email/resend"):
        assert (await client.post(f"{V1}/auth/{path}", json={"email": account.email})).status_code == 202
    other = {"new_email": OTHER_EMAIL, "current_password": PASSWORD}
    assert (await client.post(f"{V1}/users/me/email", json=other, headers=account.bearer)).status_code == 202
    await replay(Account(client, account.email))
    asked = await client.post(f"{V1}/users/me/export", headers={**account.bearer, **once})
    assert (await carry_out(asked.json()["id"])).status == TaskStatus.succeeded
    return account


async def replay(account: Account) -> None:
    """Have one's refresh token stolen."""
    assert (await account.login()).status_code == 200
    spent = account.pair["refresh_token"]
    for _ in range(2):
        account.pair = (await account.refresh()).json()
    assert (await account.refresh(spent)).status_code == 401


async def add_what_a_client_cannot(db: Any, user: User) -> None:
    """Rows that only time or a fault makes."""
    said = {"to": user.email, "name": NAME, "ip": ADDRESS}
    await make_task(
        db, user, status=TaskStatus.failed, task_data=said, result=said, error_code="lost", error_detail=user.email
    )
    db.add(KnownDevice(user_id=user.id, network=f"{NETWORK}0/24", agent="needle"))
    db.add(
        MailToken(
            user_id=user.id, purpose="claim", email=user.email, full_name=NAME, key_id="k", salt=b"s",
            expires_at=utc_now(),
        )
    )  # fmt: skip
    db.add(
        IdempotencyKey(
            caller=str(user.id), user_id=user.id, route="POST /x", key="k", body="b", status=201,
            headers={"x": NAME}, answer=json.dumps(said).encode(),
        )
    )  # fmt: skip
    await db.commit()


def spellings(value: Any) -> Iterator[str]:
    """A stored value as text, in the ways in which something may stand in it."""
    if isinstance(value, (bytes, memoryview)):
        yield bytes(value).decode("latin-1")
        yield bytes(value).hex()
    else:
        yield str(value)
        yield json.dumps(value, default=str, ensure_ascii=False)


async def rows_with(needles: list[str]) -> set[str]:
    """The tables of the database that say one of these words anywhere, and the words."""
    async with new_session(read_only=True) as db:
        found = set()
        for name in {*SQLModel.metadata.tables, "alembic_version"}:
            for row in (await db.exec(text(f"SELECT * FROM {name}"))).all():  # type: ignore[call-overload] # typed for select() only
                said = " ".join(spelling for value in row for spelling in spellings(value)).lower()
                found |= {f"{name}: {needle}" for needle in needles if needle.lower() in said}
    return found


async def keys_with(needles: list[str]) -> set[str]:
    """The same of Redis: keys of our prefix, and what is in them."""
    found, client = set(), redis.redis_client()
    async for key in client.scan_iter(match=f"{await redis.prefix()}*"):
        reading = {
            "string": lambda k: client.get(k),
            "hash": lambda k: client.hgetall(k),
            "list": lambda k: client.lrange(k, 0, -1),
            "set": lambda k: client.smembers(k),
            "zset": lambda k: client.zrange(k, 0, -1),
        }
        kind = await client.type(key)
        said = f"{key} {await reading[kind](key) if kind in reading else ''}".lower()
        found |= {f"{key}: {needle}" for needle in needles if needle.lower() in said}
    return found


def every_table_of_a_person() -> set[str]:
    return {name for name, table in SQLModel.metadata.tables.items() if "user_id" in table.columns} | {"users"}


async def test_nothing_about_the_person_is_left(db, new_client) -> None:
    client = new_client(client_address=ADDRESS, headers={"user-agent": AGENT})
    account = await live_a_life(client)
    user_id = UUID((await account.me()).json()["id"])
    await add_what_a_client_cannot(db, await db.get_one(User, user_id))
    session_id = read_access_token(account.pair["access_token"]).session_id
    await user_cache.set_user_cache(*await principal.load([session_id]))
    about, identity = [account.email, OTHER_EMAIL, NAME, NETWORK, "NeedleBrowser"], [str(user_id), user_id.hex]

    before = {place.partition(":")[0] for place in await rows_with([*about, *identity])}
    assert before >= every_table_of_a_person() | PSEUDONYMOUS | {"export_chunks"}, "the test has something to find"
    assert await keys_with([account.email, str(user_id)])

    assert (await client.delete(f"{V1}/users/me", headers=account.bearer)).status_code == 204
    assert await rows_with(about) == set()
    assert {place.partition(":")[0] for place in await rows_with(identity)} <= PSEUDONYMOUS

    async def redis_forgot() -> bool:
        return not await keys_with([*about, *identity])

    await eventually(redis_forgot)

    # Asking for what is not there any more stores nothing of it.
    for path in ("password/forgot", "verify-email/resend"):
        assert (await client.post(f"{V1}/auth/{path}", json={"email": account.email})).status_code == 202
    assert (await account.login()).status_code == 401
    assert await rows_with([account.email, NAME]) == set()


async def test_the_audit_still_knows_that_it_happened(db, client: AsyncClient) -> None:
    account = Account(client)
    await account.register()
    await account.login()
    user_id = (await account.me()).json()["id"]
    await client.delete(f"{V1}/users/me", headers=account.bearer)
    statement = text("SELECT action, origin FROM audit_events WHERE target_id = :id ORDER BY id DESC")
    events = (await db.exec(statement, params={"id": user_id})).all()
    assert events[0] == ("user_deleted", None)
    assert {action for action, _ in events} == {"user_registered", "session_opened", "user_deleted"}


async def test_a_deletion_by_somebody_else_leaves_nothing_either(db, new_client) -> None:
    client = new_client(client_address=ADDRESS, headers={"user-agent": AGENT})
    account = await live_a_life(client)
    user_id = UUID((await account.me()).json()["id"])
    await add_what_a_client_cannot(db, await db.get_one(User, user_id))
    origin.set(None)  # as on the command line; the last request's is still here, since it ran in this very task
    assert await erasure.erase(db, user_id, actor=None)
    assert not await erasure.erase(db, uuid4(), actor=None)
    await db.commit()
    assert await rows_with([account.email, OTHER_EMAIL, NAME, NETWORK, "NeedleBrowser"]) == set()


@pytest.mark.parametrize("password", [PASSWORD, "not-the-password"])
async def test_a_sign_in_to_an_account_that_goes_at_this_moment_is_refused(client: AsyncClient, password: str) -> None:
    account = Account(client, password=PASSWORD)
    await account.register()
    async with new_session(read_only=True) as db:
        user_id = (await db.exec(select(User.id).where(User.email == account.email))).one()
    account.password = password
    answer = await deleted_meanwhile(account.email, account.login())
    assert problem(answer) == (401, "invalid_credentials")
    async with new_session(read_only=True) as db:
        events = await db.exec(select(AuditEvent).where(AuditEvent.target_id == str(user_id)))
        event = next(event for event in events if event.action == "sign_in_failed")
        assert (await db.exec(select(AuditOrigin).where(AuditOrigin.event_id == event.id))).first() is None


@pytest.mark.parametrize(("method", "path", "body"), [("PUT", "me", {"full_name": NAME}), ("POST", "me/export", None)])
async def test_an_account_that_goes_at_this_moment_is_not_changed(
    account: Account, method: str, path: str, body: dict[str, str] | None
) -> None:
    change = account.client.request(method, f"{V1}/users/{path}", json=body, headers=account.bearer)
    assert problem(await deleted_meanwhile(account.email, change)) == (401, "invalid_access_token")


@pytest.mark.parametrize("path", ["verify-email/resend", "password/forgot"])
async def test_a_mail_to_an_account_that_goes_at_this_moment_is_promised_to_nobody(
    db, account: Account, path: str
) -> None:
    user_id = (await account.me()).json()["id"]
    headers = {**account.bearer, "Idempotency-Key": account.email}
    asked = account.client.post(f"{V1}/auth/{path}", json={"email": account.email}, headers=headers)
    assert (await deleted_meanwhile(account.email, asked)).status_code == 202
    assert (await db.exec(select(MailToken).where(MailToken.user_id == UUID(user_id)))).first() is None
