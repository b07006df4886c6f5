"""Limits through the front door, on a server that has them."""

import asyncio
import re
from collections import Counter

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from httpx2 import AsyncClient, Response

from app.api.deps import SAFE_METHODS
from app.api.limits import Limit
from tests.flows import PASSWORD, V1, Account, new_email, problem

PROXY = {"TRUSTED_PROXIES": "127.0.0.1/32"}
LIMITED = {"RATE_LIMIT_ENABLED": "true", **PROXY}


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
    client = new_client((await server(**LIMITED)).url)
    email = new_email()
    for left in range(9, -1, -1):
        answer = await attempt(client, "203.0.113.1", email)
        assert problem(answer) == (401, "invalid_credentials")
        assert answer.headers["ratelimit-policy"] == '"login";q=10;w=60'
        assert re.fullmatch(rf'"login";r={left};t=\d+', answer.headers["ratelimit"])
    refused = await attempt(client, "203.0.113.1", email)
    assert problem(refused) == (429, "rate_limited")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit"].startswith('"login";r=0;t=')
    form = {"grant_type": "password", "username": email, "password": PASSWORD}
    for spelling in ("/auth/token", "/auth/token?x=1"):
        answer = await client.post(V1 + spelling, data=form, headers={"X-Forwarded-For": "203.0.113.1"})
        assert problem(answer) == (429, "rate_limited")
    assert (await attempt(client, "203.0.113.2", email)).status_code == 401


async def test_two_hundred_at_once_on_four_processes_pass_ten(server, new_client) -> None:
    running = await server("--workers", "4", **LIMITED)
    clients = [new_client(running.url) for _ in range(20)]  # a connection each at least: every process gets some
    email = new_email()
    answers = await asyncio.gather(*(attempt(clients[n % 20], "198.18.0.9", email) for n in range(200)))
    assert Counter(answer.status_code for answer in answers) == {401: 10, 429: 190}


async def test_a_thousand_hostile_failures_do_not_delay_the_owner_at_home(server, new_client) -> None:
    client = new_client((await server(**LIMITED, RATE_LIMIT_LOGIN="1000/second")).url)
    owner = Account(client)
    at_home = {"X-Forwarded-For": "198.51.100.7"}
    body = {"email": owner.email, "password": owner.password}
    assert (await client.post(f"{V1}/auth/register", json=body, headers=at_home)).status_code == 201
    assert (await attempt(client, "198.51.100.7", **body)).status_code == 200
    hostile = [await attempt(client, f"203.0.113.{n % 50}", owner.email) for n in range(1000)]
    assert Counter(answer.status_code for answer in hostile) == {401: 20, 429: 980}
    assert all(0 < int(answer.headers["retry-after"]) <= 60 for answer in hostile if answer.status_code == 429)
    assert (await attempt(client, "198.51.100.200", **body)).status_code == 200  # the same /24
    assert problem(await attempt(client, "192.0.2.1", **body)) == (429, "rate_limited")
