"""Limits through the front door, on a server that has them."""

import asyncio
import re
import time
from collections import Counter
from math import ceil

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from httpx2 import AsyncClient, Response

from app.api.deps import SAFE_METHODS
from app.api.limits import Limit
from tests.flows import PASSWORD, V1, Account, new_email, problem, signed_in
from tests.limited import limited

pytestmark = [pytest.mark.any_database, pytest.mark.any_server]


def named_rules(dependant) -> set[str]:
    found = {dependant.call.rule} if isinstance(dependant.call, Limit) else set()
    return found.union(*(named_rules(one) for one in dependant.dependencies))


def test_every_route_that_changes_state_names_a_rule(app: FastAPI) -> None:
    without = [
        f"{method} {route.path}"
        for route in iter_route_contexts(app.routes)
        for method in (route.methods or set()) - SAFE_METHODS
        if not named_rules(route.dependant)
    ]
    assert not without, "name one, dependencies=[limit(…)]"


def attempt(client: AsyncClient, address: str, email: str, password: str = "wrong-otter-43-candle") -> "Response":
    return client.post(
        f"{V1}/auth/login", json={"email": email, "password": password}, headers={"X-Forwarded-For": address}
    )


async def test_the_eleventh_login_of_a_minute_is_refused(server, new_client) -> None:
    client = new_client((await server(**limited())).url)
    email = new_email()
    for left in range(9, -1, -1):
        answer = await attempt(client, "100.64.60.1", email)
        assert problem(answer) == (401, "invalid_credentials")
        assert answer.headers["ratelimit-policy"] == '"login";q=10;w=60'
        assert re.fullmatch(rf'"login";r={left};t=\d+', answer.headers["ratelimit"])
    refused = await attempt(client, "100.64.60.1", email)
    assert problem(refused) == (429, "rate_limited")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit"].startswith('"login";r=0;t=')
    form = {"grant_type": "password", "username": email, "password": PASSWORD}
    for spelling in ("/auth/token", "/auth/token?x=1"):
        answer = await client.post(V1 + spelling, data=form, headers={"X-Forwarded-For": "100.64.60.1"})
        assert problem(answer) == (429, "rate_limited")
    assert (await attempt(client, "100.64.60.2", email)).status_code == 401


async def test_two_hundred_at_once_on_four_processes_pass_ten(server, new_client) -> None:
    running = await server("--workers", "4", **limited())
    clients = [new_client(running.url) for _ in range(20)]  # a connection each at least: every process gets some
    email = new_email()
    answers = await asyncio.gather(*(attempt(clients[n % 20], "198.18.0.9", email) for n in range(200)))
    assert Counter(answer.status_code for answer in answers) == {401: 10, 429: 190}


@pytest.mark.no_cover
async def test_a_thousand_hostile_failures_do_not_delay_the_owner_at_home(server, new_client) -> None:
    client = new_client((await server(**limited(RATE_LIMIT_LOGIN="1000/second"))).url)
    owner = Account(client)
    at_home = {"X-Forwarded-For": "198.51.100.7"}
    body = {"email": owner.email, "password": owner.password}
    assert (await client.post(f"{V1}/auth/register", json=body, headers=at_home)).status_code == 201
    assert (await attempt(client, "198.51.100.7", **body)).status_code == 200
    began, hostile = time.monotonic(), []
    for _ in range(20):
        hostile += await asyncio.gather(*(attempt(client, f"100.64.0.{n}", owner.email) for n in range(50)))
    minutes = ceil((time.monotonic() - began) / 60)  # each lets one more be tried
    tried = Counter(answer.status_code for answer in hostile)
    assert set(tried) == {401, 429}
    assert 20 <= tried[401] <= 20 + minutes
    assert all(0 < int(answer.headers["retry-after"]) <= 60 for answer in hostile if answer.status_code == 429)
    assert (await attempt(client, "198.51.100.200", **body)).status_code == 200  # the same /24
    for _ in range(2):  # whatever a minute that has passed allows
        await attempt(client, "192.0.2.1", owner.email)
    assert problem(await attempt(client, "192.0.2.1", **body)) == (429, "rate_limited")


async def test_what_counts_as_one_client(server, new_client) -> None:
    client = new_client((await server(**limited())).url)

    async def left(*forwarded: str, path: str = f"{V1}/auth/token") -> int:
        headers = [("X-Forwarded-For", value) for value in forwarded]
        answer = await client.post(path, data={"grant_type": "none"}, headers=headers)
        assert answer.status_code == 400
        return int(re.search(r"r=(\d+)", answer.headers["ratelimit"])[1])

    v4 = ["100.64.70.1"], ["::ffff:100.64.70.1"], ["100.64.70.1:4711"], ["198.51.100.1", "100.64.70.1"]
    assert [await left(*one) for one in v4] == [9, 8, 7, 6]
    assert await left("100.64.70.1", path=f"{V1}/auth/token?again=1") == 5
    v6 = "2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "[2001:db8:1:2::3]:443", "2001:db8:1:3::1"
    assert [await left(one) for one in v6] == [9, 8, 7, 9]


async def test_other_spellings_of_a_path_reach_no_route_and_count_all_the_same(server, new_client) -> None:
    client = new_client((await server(**limited(RATE_LIMIT_GENERAL="5/minute"))).url)
    here = {"X-Forwarded-For": "100.64.30.1"}
    for left, path in zip((4, 3, 2), ("//api/v1/auth/login", "/API/V1/AUTH/LOGIN", "/api/v1/auth/login/"), strict=True):
        answer = await client.post(path, headers=here)
        assert answer.status_code == 404
        assert answer.headers["ratelimit-policy"] == '"general";q=5;w=60'
        assert answer.headers["ratelimit"].startswith(f'"general";r={left};')
    assert [(await client.get(f"{V1}/config", headers=here)).status_code for _ in range(4)] == [200, 200, 429, 429]
    health = [await client.get(f"{V1}/health", headers=here) for _ in range(10)]
    assert {one.status_code for one in health} == {200}
    assert "ratelimit" not in health[0].headers


async def test_every_process_counts_what_is_not_named(server, new_client) -> None:
    running = await server("--workers", "4", **limited(RATE_LIMIT_GENERAL="200/minute"))
    clients = [new_client(running.url) for _ in range(20)]
    statuses: Counter[int] = Counter()
    for _ in range(30):
        reads = (one.get(f"{V1}/config", headers={"X-Forwarded-For": "100.64.40.1"}) for one in clients)
        statuses.update(answer.status_code for answer in await asyncio.gather(*reads))
    assert 160 <= statuses[200] <= 240
    assert statuses[200] + statuses[429] == 600


async def test_a_refusal_tells_nothing_of_whether_the_account_exists(server, new_client) -> None:
    client = new_client((await server(**limited())).url)
    known = await signed_in(client)

    async def seen(email: str, network: str) -> list[tuple[object, ...]]:
        answers = [await attempt(client, f"{network}.{n // 8}", email) for n in range(24)]
        return [
            (one.status_code, sorted(one.headers), one.headers["ratelimit-policy"], one.headers["ratelimit"][:11])
            for one in answers
        ]

    told = await seen(known.email, "100.64.50")
    assert told == await seen(new_email(), "100.64.51")
    assert [status for status, *_ in told] == [401] * 20 + [429] * 4


async def test_the_right_password_is_no_failure(server, new_client) -> None:
    client = new_client((await server(**limited(RATE_LIMIT_LOGIN="100/minute", RATE_LIMIT_ACCOUNT="3/hour"))).url)
    account = await signed_in(client)
    for _ in range(6):
        assert (await account.login()).status_code == 200


async def test_limits_can_be_turned_off_one_by_one(server, new_client) -> None:
    client = new_client((await server(**limited(RATE_LIMIT_LOGIN="false", RATE_LIMIT_GENERAL="false"))).url)
    answers = [await client.post(f"{V1}/auth/token", data={"grant_type": "none"}) for _ in range(20)]
    assert {answer.status_code for answer in answers} == {400}
    assert "ratelimit" not in answers[0].headers
    limits = (await client.get(f"{V1}/config")).json()["limits"]
    assert limits == {
        "password": "10/minute", "register": "5/minute", "forgot": "3/hour", "resend": "3/hour"
    }  # fmt: skip


async def test_a_wrong_rate_is_told_at_start(server) -> None:
    with pytest.raises(RuntimeError, match="RATE_LIMIT_LOGIN must be like 10/minute"):
        await server(RATE_LIMIT_LOGIN="often")


async def test_refusals_are_counted_by_rule(server, new_client) -> None:
    client = new_client((await server(**limited(RATE_LIMIT_REGISTER="1/minute"))).url)
    for status in (422, 429):
        assert (await client.post(f"{V1}/auth/register", json={})).status_code == status
    assert 'rate_limit_refusals_total{rule="register"} 1.0' in (await client.get(f"{V1}/metrics")).text


@pytest.mark.parametrize("path", ["/auth/password/forgot", "/auth/verify-email/resend"])
async def test_an_address_is_written_to_three_times_an_hour_whoever_asks(server, new_client, path: str) -> None:
    client = new_client((await server(**limited())).url)
    known = await signed_in(client)
    told = []
    for email in (known.email, new_email()):
        written = (email, email.upper(), email.replace("@", "＠"), f" {email} ", email)
        for number, form in enumerate(written):
            here = {"X-Forwarded-For": f"100.64.80.{number}"}
            answer = await client.post(V1 + path, json={"email": form}, headers=here)
            told.append((answer.status_code, answer.headers["ratelimit-policy"], answer.headers["ratelimit"][:13]))
    assert told[:5] == told[5:]
    assert [status for status, *_ in told[:5]] == [202, 202, 202, 429, 429]
    assert "q=3;w=3600" in told[0][1]
