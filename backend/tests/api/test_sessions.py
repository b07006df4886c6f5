"""Where an account is signed in: listed, ended one by one or all others, and at most so many."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import Response
from sqlmodel import col, select

from app.core.config import settings
from app.core.db import new_session
from app.models import AuditEvent, Change, User, UserSession
from tests.collisions import collide
from tests.fixtures import Clock, NewClient
from tests.flows import V1, Account, problem

SESSIONS = f"{V1}/users/me/sessions"
Login = Callable[..., Awaitable[Account]]


async def listed(account: Account, **query: Any) -> dict[str, Any]:
    answer = await account.client.get(SESSIONS, headers=account.bearer, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def all_listed(account: Account) -> list[dict[str, Any]]:
    return (await listed(account, limit=100))["items"]


async def current_id(account: Account) -> str:
    (own,) = [one["id"] for one in await all_listed(account) if one["current"]]
    return own


async def end(account: Account, session_id: str) -> Response:
    return await account.client.delete(f"{SESSIONS}/{session_id}", headers=account.bearer)


async def end_others(account: Account) -> Response:
    return await account.client.delete(SESSIONS, headers=account.bearer)


async def test_the_list_says_where_and_when_and_which_one_asks(new_client: NewClient, account: Account, login: Login):
    phone = await login(
        account, new_client(client_address="198.51.100.7", headers={"User-Agent": "Phone/" + "x" * 300})
    )
    answer = await phone.client.get(SESSIONS, headers=phone.bearer)
    assert answer.headers["cache-control"] == "no-store"
    newest, oldest = answer.json()["items"]
    assert answer.json()["next_cursor"] is None
    assert set(newest) == {"id", "created_at", "last_used_at", "expires_at", "ip", "user_agent", "current"}
    assert (newest["ip"], newest["user_agent"]) == ("198.51.100.7", ("Phone/" + "x" * 300)[:255])
    assert (newest["current"], oldest["current"]) == (True, False)
    assert oldest["ip"] == "127.0.0.1"
    assert newest["created_at"] == newest["last_used_at"] < newest["expires_at"]


async def test_a_refresh_moves_last_used_and_the_end(account: Account, clock: Clock):
    (before,) = await all_listed(account)
    clock.advance(timedelta(minutes=10))
    account.pair = (await account.refresh()).json()
    (after,) = await all_listed(account)
    assert after["id"] == before["id"]
    assert after["created_at"] == before["created_at"]
    assert after["last_used_at"] > before["last_used_at"]
    assert after["expires_at"] > before["expires_at"]


async def test_only_living_sessions_are_listed(account: Account, login: Login, clock: Clock):
    await (await login(account)).logout()
    assert len(await all_listed(account)) == 1
    clock.advance(timedelta(days=15))  # the first one's end
    later = await login(account)
    assert [one["current"] for one in await all_listed(later)] == [True]


async def test_the_list_is_read_page_by_page_although_it_changes(account: Account, login: Login):
    others = [await login(account) for _ in range(6)]
    whole = [one["id"] for one in await all_listed(account)]
    seen: list[str] = []
    page = await listed(account, limit=2)
    while True:
        seen += [one["id"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        await others.pop().logout()  # a row goes and a row comes between any two pages
        await login(account)
        page = await listed(account, limit=2, cursor=page["next_cursor"])
    assert seen == [one for one in whole if one in seen], "out of order, or one twice"
    assert len(seen) >= len(whole) - 3
    still_there = {one["id"] for one in await all_listed(account)}
    assert still_there & set(whole) <= set(seen), "one that stood all the time was stepped over"


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"limit": "x"}, {"cursor": ""}, {"cursor": "AAAA"}])
async def test_a_bad_limit_or_cursor_is_named(account: Account, query: dict[str, Any]):
    answer = await account.client.get(SESSIONS, headers=account.bearer, params=query)
    assert problem(answer) == (422, "validation_failed")
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [f"/query/{next(iter(query))}"]


async def test_ending_one_kills_its_tokens_and_no_other(account: Account, login: Login):
    other = await login(account)
    assert (await end(account, await current_id(other))).status_code == 204
    assert problem(await other.me()) == (401, "session_revoked")
    assert problem(await other.refresh()) == (401, "session_revoked")
    assert (await account.me()).status_code == 200
    assert len(await all_listed(account)) == 1


async def test_the_session_that_asks_may_end_itself(account: Account):
    assert (await end(account, await current_id(account))).status_code == 204
    assert problem(await account.me()) == (401, "session_revoked")


async def test_what_is_somebody_elses_ended_or_unknown_is_not_found(account: Account, login: Login):
    stranger, ended = await login(), await login(account)
    theirs, mine = await current_id(stranger), await current_id(ended)
    await ended.logout()
    for session_id in (theirs, mine, str(uuid4())):
        assert problem(await end(account, session_id)) == (404, "not_found")
    assert (await stranger.me()).status_code == 200
    assert problem(await end(account, "not-an-id")) == (422, "validation_failed")


async def test_ending_the_others_leaves_this_one_and_everybody_else(account: Account, login: Login):
    others, stranger = [await login(account) for _ in range(3)], await login()
    assert (await end_others(account)).status_code == 204
    for other in others:
        assert problem(await other.me()) == (401, "session_revoked")
        assert problem(await other.refresh()) == (401, "session_revoked")
    assert (await account.me()).status_code == (await stranger.me()).status_code == 200
    assert (await end_others(account)).status_code == 204
    assert len(await all_listed(account)) == 1


async def test_an_end_is_told_to_every_process_and_audited(account: Account, login: Login):
    gone = [await login(account) for _ in range(3)]
    ids = {await current_id(one) for one in gone}
    await end(account, await current_id(gone[0]))
    await end_others(account)
    await end_others(account)
    user = (await account.me()).json()["id"]
    async with new_session(read_only=True) as db:
        told = (await db.exec(select(Change.subject).where(Change.topic == "session"))).all()
        events = (
            await db.exec(
                select(AuditEvent.actor_id, AuditEvent.target_id).where(
                    AuditEvent.action == "session_ended", AuditEvent.target_id == user
                )
            )
        ).all()
    assert sorted(told) == sorted(ids)
    assert [(str(actor), target) for actor, target in events] == [(user, user)] * 2


async def test_past_the_cap_the_one_used_longest_ago_ends(account: Account, login: Login, clock: Clock):
    signed_in = [account]
    for _ in range(settings.sessions_per_user - 1):
        clock.advance(timedelta(seconds=1))
        signed_in.append(await login(account))
    clock.advance(timedelta(seconds=1))
    account.pair = (await account.refresh()).json()  # the oldest, but used last
    clock.advance(timedelta(seconds=1))
    signed_in.append(await login(account))
    alive = [(await one.me()).status_code == 200 for one in signed_in]
    assert alive == [True, False] + [True] * (settings.sessions_per_user - 1)
    assert len(await all_listed(account)) == settings.sessions_per_user


async def test_sign_ins_at_once_never_leave_more_than_the_cap(account: Account, login: Login):
    for _ in range(settings.sessions_per_user - 2):
        await login(account)
    async with new_session(read_only=True) as db:
        user = (await db.exec(select(User).where(User.email == account.email))).one()
    answers = await collide(user, [Account(account.client, account.email).login() for _ in range(8)])
    assert {answer.status_code for answer in answers} == {200}
    async with new_session(read_only=True) as db:
        living = (
            await db.exec(
                select(UserSession.id).where(UserSession.user_id == user.id, col(UserSession.revoked_at).is_(None))
            )
        ).all()
    assert len(living) == settings.sessions_per_user


async def test_of_two_that_end_each_other_at_once_one_is_left(account: Account, login: Login):
    async with new_session(read_only=True) as db:
        user = (await db.exec(select(User).where(User.email == account.email))).one()
    for _ in range(5):
        one, two = await login(account), await login(account)
        answers = await collide(user, [end_others(one), end_others(two)])
        assert sorted(answer.status_code for answer in answers) == [204, 401]
        alive = [(await each.me()).status_code for each in (one, two)]
        assert sorted(alive) == [200, 401]
