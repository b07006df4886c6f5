"""`Idempotency-Key`: one effect, and the first answer again."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from httpx2 import AsyncClient, Response
from sqlmodel import col, func, select, update

from app.core.clock import utc_now
from app.core.db import new_session
from app.models import AuditEvent, BackgroundTask, IdempotencyKey, User
from app.services import idempotency
from tests.api.test_unit_of_work import commits_fail
from tests.factories import ago
from tests.fixtures import Clock, NewClient
from tests.flows import PASSWORD, V1, Account, new_email, problem
from tests.sweeping import sweep

REGISTER = f"{V1}/auth/register"
EXPORT = f"{V1}/users/me/export"
Login = Callable[..., Awaitable[Account]]


def body(**other: Any) -> dict[str, Any]:
    return {"email": new_email(), "password": PASSWORD, **other}


async def register(client: AsyncClient, sent: dict[str, Any], key: str = "key-1") -> Response:
    return await client.post(REGISTER, json=sent, headers={"Idempotency-Key": key})


async def export(account: Account, key: str = "key-1") -> Response:
    return await account.client.post(EXPORT, headers={**account.bearer, "Idempotency-Key": key})


async def count(model: Any) -> int:
    async with new_session(read_only=True) as db:
        return (await db.exec(select(func.count()).select_from(model))).one()


async def stored() -> list[IdempotencyKey]:
    async with new_session(read_only=True) as db:
        return list((await db.exec(select(IdempotencyKey))).all())


async def set_all(**values: Any) -> None:
    async with new_session() as db:
        await db.exec(update(IdempotencyKey).values(**values))
        await db.commit()


def fault(answer: Response) -> tuple[str, str]:
    assert problem(answer) == (422, "validation_failed")
    (found,) = answer.json()["errors"]
    return found["pointer"], found["code"]


def told(answer: Response) -> dict[str, str]:
    """The headers that are not of this very exchange."""
    return {k: v for k, v in answer.headers.items() if k not in ("x-request-id", "ratelimit", "date")}


async def test_the_same_key_and_body_get_the_first_answer_again(client: AsyncClient):
    sent = body()
    first = await register(client, sent)
    assert first.status_code == 201
    assert "idempotency-replayed" not in first.headers
    again = await register(client, sent)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert {k: v for k, v in told(again).items() if k != "idempotency-replayed"} == told(first)
    assert problem(await client.post(REGISTER, json=sent)) == (409, "email_taken")
    assert await count(User) == await count(BackgroundTask) == 1


async def test_a_user_gets_the_same_task_and_its_location_again(account: Account):
    first, again = await export(account), await export(account)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    other_key = await export(account, "key-2")
    assert other_key.status_code == 429


async def test_another_body_is_refused(client: AsyncClient):
    await register(client, body())
    answer = await register(client, body())
    assert fault(answer) == ("/header/Idempotency-Key", "idempotency_key_reused")
    assert await count(User) == 1


async def test_a_key_belongs_to_its_route(client: AsyncClient, account: Account):
    assert (await export(account)).status_code == 202
    assert (await client.post(REGISTER, json=body(), headers={**account.bearer, "Idempotency-Key": "key-1"})).is_success
    assert len({(row.route, row.caller) for row in await stored()}) == 2


async def test_a_key_belongs_to_its_user(account: Account, login: Login):
    other = await login()
    first, second = await export(account), await export(other)
    assert (first.status_code, second.status_code) == (202, 202)
    assert "idempotency-replayed" not in second.headers
    assert first.json()["id"] != second.json()["id"]


async def test_a_strangers_key_belongs_to_the_address(new_client: NewClient):
    here, there = new_client(), new_client(client_address="198.51.100.9")
    sent = body()
    assert (await register(here, sent)).status_code == 201
    assert problem(await register(there, sent)) == (409, "email_taken")


async def test_a_token_that_has_ended_gets_nothing_again(account: Account):
    await export(account)
    await account.logout()
    assert problem(await export(account)) == (401, "session_revoked")


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tin", "ü", "\x7f"])
async def test_a_key_that_is_not_1_to_255_printable_characters_is_refused(client: AsyncClient, key: str):
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answer = await client.post(REGISTER, json=body(), headers=headers)
    assert fault(answer)[0] == "/header/Idempotency-Key"
    assert await count(User) == 0


async def test_two_keys_are_refused_and_the_longest_is_taken(client: AsyncClient):
    twice = await client.post(REGISTER, json=body(), headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    assert fault(twice) == ("/header/Idempotency-Key", "header_repeated")
    assert (await register(client, body(), "! ~" * 85)).status_code == 201


async def test_what_failed_is_not_kept(client: AsyncClient, account: Account):
    weak = body(email=account.email)
    assert problem(await register(client, {**weak, "password": "password1"})) == (422, "validation_failed")
    assert problem(await register(client, weak)) == (409, "email_taken")
    assert await stored() == []
    assert (await register(client, body())).status_code == 201


async def test_an_answer_and_its_effect_commit_together(client: AsyncClient):
    sent = body()
    async with commits_fail("INSERT", "users"):
        assert problem(await register(client, sent)) == (500, "internal_error")
        assert await stored() == []
    assert (await register(client, sent)).status_code == 201
    assert (await register(client, sent)).headers["idempotency-replayed"] == "true"


async def test_of_ten_at_once_one_works_and_all_get_its_answer(client: AsyncClient):
    sent = body()
    answers = await asyncio.gather(*(register(client, sent) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert Counter("idempotency-replayed" in answer.headers for answer in answers) == {True: 9, False: 1}
    assert await count(User) == await count(BackgroundTask) == 1


async def test_a_request_that_still_runs_is_told_of_after_two_seconds(client: AsyncClient):
    sent = body()
    await register(client, sent)
    await set_all(status=None, answer=None, lease_until=utc_now() + timedelta(minutes=1))
    began = asyncio.get_running_loop().time()
    answer = await register(client, sent)
    assert problem(answer) == (409, "request_in_progress")
    assert int(answer.headers["retry-after"]) > 0
    assert 1.9 < asyncio.get_running_loop().time() - began < 6
    assert fault(await register(client, body())) == ("/header/Idempotency-Key", "idempotency_key_reused")


async def test_who_waits_gets_the_answer_of_the_first(client: AsyncClient):
    sent = body()
    first = await register(client, sent)
    await set_all(status=None, lease_until=utc_now() + timedelta(minutes=1))
    waiting = asyncio.create_task(register(client, sent))
    done, _ = await asyncio.wait({waiting}, timeout=0.3)
    assert not done
    await set_all(status=201, lease_until=None)
    assert (await waiting).content == first.content


async def test_a_key_whose_request_died_is_free_after_the_lease(client: AsyncClient):
    sent, other = body(), body()
    await register(client, sent)
    await set_all(status=None, answer=None, lease_until=ago(seconds=1))
    assert (await register(client, other)).status_code == 201
    assert (await register(client, other)).headers["idempotency-replayed"] == "true"
    assert len(await stored()) == 1


async def test_a_request_that_outlived_its_lease_leaves_nothing(client: AsyncClient, monkeypatch: pytest.MonkeyPatch):
    """Another one began the same work meanwhile: only one of them may be right."""
    monkeypatch.setattr(idempotency, "LEASE", timedelta(seconds=-1))
    sent = body()
    answers = await asyncio.gather(*(register(client, sent) for _ in range(5)))
    assert Counter(answer.status_code for answer in answers)[201] >= 1
    assert await count(User) == await count(BackgroundTask) == len(await stored()) == 1
    bodies = {answer.content for answer in answers if answer.status_code == 201}
    assert len(bodies) == 1


async def test_a_key_is_free_again_after_a_day(client: AsyncClient, clock: Clock):
    sent = body()
    await register(client, sent)
    clock.advance(timedelta(hours=23, minutes=59))
    assert (await register(client, sent)).headers["idempotency-replayed"] == "true"
    clock.advance(timedelta(minutes=2))
    assert problem(await register(client, sent)) == (409, "email_taken")
    assert (await register(client, body())).status_code == 201


async def test_the_sweep_takes_what_is_older_than_a_day(client: AsyncClient, clock: Clock):
    await register(client, body())
    clock.advance(timedelta(hours=23))
    await register(client, body(), "key-2")
    clock.advance(timedelta(hours=2))
    async with new_session() as db:
        assert (await sweep(db))["idempotency_keys"] == 1
        await db.commit()
    assert len(await stored()) == 1


async def test_the_rows_go_with_the_account_and_tell_nothing_before(client: AsyncClient, new_client: NewClient):
    sent = body()
    await register(client, sent, "a-key-that-nobody-may-read")
    account = Account(new_client(), sent["email"])
    await account.login()
    await export(account)
    for row in await stored():
        told = repr(row.model_dump(exclude={"answer", "headers"}))
        for secret in (sent["email"], PASSWORD, "a-key-that-nobody-may-read", "127.0.0.1"):
            assert secret not in told
    assert len(await stored()) == 2
    assert (await client.delete(f"{V1}/users/me", headers=account.bearer)).status_code == 204
    assert await stored() == []


async def test_sign_in_and_the_like_ignore_the_header(client: AsyncClient):
    account = Account(client)
    await account.register()
    key = {"Idempotency-Key": "x" * 300}
    sent = {"email": account.email, "password": PASSWORD}
    pairs = [(await client.post(f"{V1}/auth/login", json=sent, headers=key)).json() for _ in range(2)]
    assert pairs[0]["refresh_token"] != pairs[1]["refresh_token"]
    form = {"grant_type": "password", "username": account.email, "password": PASSWORD}
    assert (await client.post(f"{V1}/auth/token", data=form, headers=key)).status_code == 200
    account.pair = pairs[0]
    spent = {"refresh_token": pairs[0]["refresh_token"]}
    assert (await client.post(f"{V1}/auth/refresh", json=spent, headers=key)).status_code == 200
    headers = {**account.bearer, **key}
    for path, given in (("reauthenticate", {"password": PASSWORD}), ("logout", {})):
        assert (await client.post(f"{V1}/auth/{path}", json=given, headers=headers)).status_code == 204
    assert await stored() == []


async def test_every_post_that_creates_says_that_it_honours_the_header(client: AsyncClient, app):
    creating = {
        context.path
        for context in iter_route_contexts(app.routes)
        if "POST" in (context.methods or ()) and getattr(context, "status_code", 200) in (201, 202)
    }
    document = (await client.get("/openapi.json")).json()
    honouring = {
        path
        for path, item in document["paths"].items()
        for parameter in item.get("post", {}).get("parameters", ())
        if parameter["name"] == "Idempotency-Key"
    }
    assert creating == honouring >= {REGISTER, EXPORT}


async def test_the_audit_tells_a_replay_once(client: AsyncClient):
    sent = body()
    user = (await register(client, sent)).json()["id"]
    await register(client, sent)
    async with new_session(read_only=True) as db:
        events = (await db.exec(select(AuditEvent.action).where(col(AuditEvent.target_id) == user))).all()
    assert list(events) == ["user_registered"]
