"""Requests that race for one session: a refresh token has one successor, and what was ended stays ended."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest
from httpx2 import AsyncClient, Response
from sqlmodel import select

from app.core.db import new_session
from app.models import User, UserSession
from tests.collisions import collide
from tests.faults.stack import rounds
from tests.fixtures import Clock, NewClient
from tests.flows import PASSWORD, V1, Account, problem, signed_in
from tests.stack import Server
from tests.staff import USERS, id_of, patch, with_roles

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("clean")]
SESSIONS = f"{V1}/users/me/sessions"
AT_ONCE = 50


async def test_of_fifty_refreshes_at_once_all_get_the_one_successor(client: AsyncClient) -> None:
    account = await signed_in(client)
    wanted = rounds(200, 4)
    for _ in range(wanted):
        answers = await asyncio.gather(*(account.refresh() for _ in range(AT_ONCE)))
        assert Counter(answer.status_code for answer in answers) == {200: AT_ONCE}
        (successor,) = {answer.json()["refresh_token"] for answer in answers}
        assert successor != account.pair["refresh_token"]
        account.pair = answers[0].json()
    assert (await account.me()).status_code == 200
    async with new_session(read_only=True) as db:
        own = select(UserSession.generation).join(User).where(User.email == account.email)
        assert (await db.exec(own)).all() == [wanted + 1]


# --- a refresh against what ends its session ------------------------------------------------------------------------


@pytest.fixture
async def admin(client: AsyncClient) -> Account:
    return await with_roles(client, "admin")


@dataclass
class Race:
    """An account with a session that is raced for, and another one of the same account."""

    raced: Account
    other: Account
    session_id: str
    user_id: UUID
    admin: Account

    @classmethod
    async def begin(cls, admin: Account) -> "Race":
        client = admin.client
        raced = await signed_in(client)
        (session_id,) = [one["id"] for one in (await client.get(SESSIONS, headers=raced.bearer)).json()["items"]]
        other = Account(client, raced.email)
        assert (await other.login()).status_code == 200
        return cls(raced, other, session_id, await id_of(raced), admin)


async def log_out(race: Race) -> Response:
    return await race.raced.logout()


async def log_out_by_refresh_token(race: Race) -> Response:
    sent = {"refresh_token": race.raced.pair["refresh_token"]}
    return await race.raced.client.post(f"{V1}/auth/logout", json=sent)


async def revoke(race: Race) -> Response:
    return await race.other.client.delete(f"{SESSIONS}/{race.session_id}", headers=race.other.bearer)


async def revoke_others(race: Race) -> Response:
    return await race.other.client.delete(SESSIONS, headers=race.other.bearer)


async def change_password(race: Race) -> Response:
    sent = {"current_password": PASSWORD, "new_password": "copper-heron-73-saddle"}
    return await race.other.client.post(f"{V1}/users/me/password", json=sent, headers=race.other.bearer)


async def disable(race: Race) -> Response:
    return await patch(race.admin, race.user_id, is_active=False)


async def end_as_admin(race: Race) -> Response:
    return await race.admin.client.delete(f"{USERS}/{race.user_id}/sessions", headers=race.admin.bearer)


async def delete_account(race: Race) -> Response:
    return await race.other.client.delete(f"{V1}/users/me", headers=race.other.bearer)


ENDS: list[Callable[[Race], Awaitable[Response]]] = [
    log_out,
    log_out_by_refresh_token,
    revoke,
    revoke_others,
    change_password,
    disable,
    end_as_admin,
    delete_account,
]


async def assert_nothing_is_usable(race: Race, answers: list[Response]) -> None:
    """Neither the pair that was raced with nor the last ones that a refresh got meanwhile."""
    pairs = [answer.json() for answer in answers if answer.status_code == 200]
    for pair in [*reversed(pairs[-5:]), race.raced.pair]:
        left = Account(race.raced.client, pair=pair)
        assert (await left.me()).status_code == 401
        assert (await left.refresh()).status_code == 401
        assert (await left.me()).status_code == 401


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_a_refresh_that_races_an_end_leaves_nothing_alive(admin: Account, end) -> None:
    told: Counter[int] = Counter()
    chance = random.Random(7)
    for _ in range(rounds(200, 5)):
        race = await Race.begin(admin)
        work = [race.raced.refresh, race.raced.refresh, race.raced.refresh, lambda race=race: end(race)]
        order = chance.sample(range(4), 4)
        answers = dict(zip(order, await asyncio.gather(*(work[n]() for n in order)), strict=True))
        assert answers[3].is_success
        refreshed = [answers[n] for n in range(3)]
        told.update(answer.status_code for answer in refreshed)
        assert {answer.status_code for answer in refreshed} <= {200, 401}
        await assert_nothing_is_usable(race, refreshed)
    print(f"refreshes={dict(told)}")


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_who_refreshes_on_and_on_is_out_with_the_end(admin: Account, end) -> None:
    told: Counter[int] = Counter()

    async def refresh_on(account: Account) -> list[Response]:
        answers = [await account.refresh()]
        while answers[-1].status_code == 200:
            answers.append(await account.refresh(answers[-1].json()["refresh_token"]))
        return answers

    for _ in range(rounds(200, 5)):
        race = await Race.begin(admin)
        answers, ended = await asyncio.gather(refresh_on(race.raced), end(race))
        assert ended.is_success
        assert answers[-1].status_code == 401
        told[len(answers) - 1] += 1
        await assert_nothing_is_usable(race, answers)
    print(f"refreshes before the end={dict(sorted(told.items()))}")


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_where_both_have_read_the_row_before_either_wrote_it(admin: Account, end) -> None:
    for _ in range(rounds(20, 2)):
        race = await Race.begin(admin)
        async with new_session(read_only=True) as db:
            row = await db.get_one(UserSession, UUID(race.session_id))
        answers = await collide(row, [race.raced.refresh(), end(race), race.raced.refresh()])
        assert answers[1].is_success
        await assert_nothing_is_usable(race, [answers[0], answers[2]])


# --- theft ----------------------------------------------------------------------------------------------------------


async def test_a_replay_that_races_refreshes_leaves_nothing_alive(client: AsyncClient, clock: Clock) -> None:
    account = await signed_in(client)
    for _ in range(rounds(200, 10)):
        await account.login()
        first = account.pair["refresh_token"]
        account.pair = (await account.refresh()).json()
        clock.advance(timedelta(seconds=11))
        refreshed, replayed, again = await asyncio.gather(
            account.refresh(), account.refresh(first), account.refresh(first)
        )
        assert problem(replayed)[1] in ("refresh_token_reused", "session_revoked")
        assert problem(again)[1] in ("refresh_token_reused", "session_revoked")
        assert "refresh_token_reused" in (problem(replayed)[1], problem(again)[1])
        for pair in [account.pair, *([refreshed.json()] if refreshed.status_code == 200 else [])]:
            left = Account(client, pair=pair)
            assert (await left.me()).status_code == 401
            assert problem(await left.refresh()) == (401, "session_revoked")


async def test_a_replay_ends_the_session_after_a_restart_too(
    server: Callable[..., Awaitable[Server]], new_client: NewClient
) -> None:
    running = await server()

    async def client() -> AsyncClient:
        running.kill()
        running.start_again()
        await running.ready()
        return new_client(running.url)

    account = await signed_in(new_client(running.url))
    spent = account.pair["refresh_token"]
    for _ in range(2):
        account.client = await client()
        account.pair = (await account.refresh()).json()
    account.client = await client()
    assert problem(await account.refresh(spent)) == (401, "refresh_token_reused")
    assert problem(await account.me()) == (401, "session_revoked")
    account.client = await client()
    assert problem(await account.me()) == (401, "session_revoked")
    assert problem(await account.refresh()) == (401, "session_revoked")
