"""Registering at once does what the usual way does, in one statement, and leaves to it whatever is unusual."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from httpx2 import AsyncClient, Response
from sqlmodel import col, select

from app.api import registering
from app.core import direct
from app.core.clock import utc_now
from app.core.db import new_session
from app.core.security import password_matches
from app.models import AuditEvent, AuditOrigin, User
from app.models.mail_budget import MailBudget
from app.schemas.users import UserCreate
from app.services import accounts, mailing
from app.services.chain import origin_digest
from tests.counting import statements
from tests.everything import everything, in_common
from tests.fixtures import NewClient
from tests.flows import PASSWORD, V1, new_email, problem
from tests.limited import limited
from tests.short_ways import USUALLY, comparable, recorded_once

WAYS = pytest.mark.parametrize("more", [{}, USUALLY], ids=["short", "usual"])
HEADERS = {"X-Request-ID": "the-same", "User-Agent": "a browser", "Accept-Language": "de"}
on_postgresql = pytest.mark.stack(name="server")


async def register(client: AsyncClient, email: str, **more: Any) -> Response:
    given = {"email": email, "password": PASSWORD, "full_name": "Ada Lovelace"}
    return await client.post(f"{V1}/auth/register", **{"json": given, "headers": HEADERS, **more})


async def promised_nothing(email: str) -> None:
    """Give the address a budget of mails of which nothing is used: then registering goes statement by statement."""
    async with new_session() as db:
        row = mailing.first_promised(email)
        db.add(MailBudget(address=row.address, promised=[]))
        await db.commit()


async def written(client: AsyncClient, **more: Any) -> tuple[Any, list[Any], int]:
    """What a registration answers, every row that it adds to any table, and its number of statements."""
    email, began = new_email(), utc_now()
    if more.pop("by_steps", False):
        await promised_nothing(email)
    before = await everything()
    with statements() as asked:
        answer = await register(client, email, **more)
    assert answer.status_code == 201, answer.text
    after = await everything()
    new = [(table, row) for (table, key), row in after.items() if row != before.get((table, key))]
    async with new_session(read_only=True) as db:
        user = (await db.exec(select(User).where(User.email == email))).one()
        event = (await db.exec(select(AuditEvent).where(AuditEvent.actor_id == user.id))).one()
        place = await db.get(AuditOrigin, event.id)
    assert place is not None
    assert event.origin == origin_digest(place.salt, place.ip, place.user_agent)
    assert (await password_matches(PASSWORD, user.hashed_password))[0]
    own = {email: "address", user.hashed_password: "hash", event.origin: "origin"}
    own[mailing.first_promised(email).address] = "address in the budget"
    said = {"id": "", "created_at": "", "updated_at": "", "email": ""}
    assert {name: type(value) for name, value in answer.json().items() if name in said} == dict.fromkeys(said, str)
    status, headers, body = comparable(answer)
    return (status, headers, [one for one in body if one[0] not in said]), in_common(new, own, began), len(asked)


@on_postgresql
async def test_each_way_answers_and_writes_the_same(client: AsyncClient) -> None:
    await written(client)
    short = await written(client)
    usual = await written(client, **USUALLY)
    keyed = await written(client, headers={**HEADERS, "Idempotency-Key": new_email()})
    by_steps = await written(client, by_steps=True)
    assert short[2] == usual[2] == 1
    assert by_steps[2] > 4
    assert {table for table, _ in short[1]} == {
        "users", "mail_budgets", "mail_tokens", "background_tasks", "audit_events", "audit_origins", "audit_unsealed",
    }  # fmt: skip
    for other in (usual, by_steps):
        assert other[:2] == short[:2]
    rows_of_its_own = [row for row in keyed[1] if row[0] != "idempotency_keys"]
    assert len(rows_of_its_own) == len(short[1]) == len(keyed[1]) - 1


@WAYS
async def test_either_way_is_counted_and_logged_alike(client: AsyncClient, more: dict[str, Any]) -> None:
    await register(client, new_email())
    given = {"email": new_email(), "password": PASSWORD}
    with recorded_once("POST", registering.PATH, 201):
        assert (await client.post(registering.PATH, json=given, **more)).status_code == 201


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"email": "taken", "password": PASSWORD}, (409, "email_taken")),
        ({"email": "new", "password": "password1"}, (422, "validation_failed")),
        ({"email": "new", "password": "short"}, (422, "validation_failed")),
        ({"email": "no address", "password": PASSWORD}, (422, "validation_failed")),
        ({"email": "new", "password": PASSWORD, "is_verified": True}, (422, "validation_failed")),
        ({"email": "new"}, (422, "validation_failed")),
        ([], (422, "validation_failed")),
    ],
    ids=str,
)
async def test_a_refusal_says_the_same_and_writes_nothing(
    client: AsyncClient, given: Any, expected: tuple[int, str]
) -> None:
    taken = new_email()
    assert (await register(client, taken)).status_code == 201
    if isinstance(given, dict):
        given = {**given, "email": {"taken": taken.upper(), "new": new_email()}.get(given["email"], given["email"])}
    before = await everything()
    short, usual = await register(client, "", json=given), await register(client, "", json=given, **USUALLY)
    assert problem(short) == expected
    assert comparable(short) == comparable(usual)
    assert await everything() == before


async def test_each_one_counts_once_whichever_way_it_goes(server: Callable[..., Any], new_client: NewClient) -> None:
    client = new_client((await server(**limited(RATE_LIMIT_REGISTER="5/minute"))).url)
    taken = new_email()
    tries: list[tuple[str, dict[str, Any]]] = [
        (taken, {}), (taken, {}), (taken, USUALLY), ("no address", {}), (new_email(), USUALLY), (new_email(), {}),
    ]  # fmt: skip
    answers = [await register(client, email, **more) for email, more in tries]
    assert [answer.status_code for answer in answers] == [201, 409, 409, 422, 201, 429]
    left = [answer.headers["ratelimit"].partition(";t=")[0] for answer in answers]
    assert left == [f'"register";r={number}' for number in (4, 3, 2, 1, 0, 0)]


async def test_of_many_at_once_one_gets_the_address(client: AsyncClient) -> None:
    email = new_email()
    answers = await asyncio.gather(*(register(client, email, **more) for more in ({}, USUALLY) * 4))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    async with new_session(read_only=True) as db:
        assert len((await db.exec(select(User).where(User.email == email))).all()) == 1
        told = select(AuditEvent).join(User, col(User.id) == AuditEvent.actor_id).where(User.email == email)
        assert len((await db.exec(told)).all()) == 1


@on_postgresql
@WAYS
async def test_a_connection_that_broke_is_told_and_nothing_stands(client: AsyncClient, more: dict[str, Any]) -> None:
    email = new_email()
    await register(client, new_email())
    before = await everything()
    async with direct.connected() as connection:
        pass  # given back, the next one to be taken
    connection.terminate()
    refused = await register(client, email, **more)
    assert problem(refused) == (503, "service_unavailable")
    assert await everything() == before
    assert (await register(client, email, **more)).status_code == 201


@on_postgresql
async def test_what_follows_the_last_statement_is_refused() -> None:
    async with new_session() as db:
        direct.may_be_one(db)
        user = await accounts.register(db, UserCreate(email=new_email(), password=PASSWORD))
        assert user
        with pytest.raises(RuntimeError, match="may_be_one"):
            await db.exec(select(User))


@on_postgresql
async def test_what_came_before_the_last_statement_stands_or_falls_with_it() -> None:
    async with new_session() as db:
        direct.may_be_one(db)
        await db.exec(select(User).limit(1))
        user = await accounts.register(db, UserCreate(email=new_email(), password=PASSWORD))
        assert user
        email = user.email
        await db.rollback()
        assert (await db.exec(select(User).where(User.email == email))).first() is None
