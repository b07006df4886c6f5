"""A route needs a token unless it stands in the one public list."""

import re
from collections.abc import Iterator
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from httpx2 import AsyncClient

from tests.flows import problem
from tests.public import PUBLIC, STREAMS

pytestmark = [pytest.mark.any_database, pytest.mark.any_server]


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method and path that is served, in the document or not."""
    for route in iter_route_contexts(app.routes):
        for method in sorted(route.methods or ()):
            if method != "HEAD":
                yield method, route.path


async def test_every_route_that_is_not_public_answers_a_stranger_with_401(client: AsyncClient, app: FastAPI):
    guarded = 0
    for method, path in routes(app):
        if f"{method} {path}" in PUBLIC:
            continue
        answer = await client.request(method, re.sub(r"{\w+}", str(uuid4()), path))
        assert problem(answer)[0] == 401, f"{method} {path}"
        assert answer.headers["www-authenticate"].startswith("Bearer"), f"{method} {path}"
        guarded += 1
    assert guarded > 5


async def test_the_public_list_names_what_is_served_and_needs_no_token(client: AsyncClient, app: FastAPI):
    served = {f"{method} {path}" for method, path in routes(app)}
    assert served >= PUBLIC
    for one in PUBLIC - STREAMS:
        method, _, path = one.partition(" ")
        answer = await client.request(method, path.replace("{code}", "not_found"))
        assert answer.status_code not in (401, 403, 405), one
        assert answer.status_code < 500, one


async def test_head_is_served_as_get_is(client: AsyncClient, app: FastAPI):
    for route in iter_route_contexts(app.routes):
        if "HEAD" in (route.methods or ()):
            assert f"GET {route.path}" in PUBLIC, route.path


@pytest.mark.parametrize("token", ["", "x", "Bearer", "nfr_x"])
async def test_an_authorization_that_is_none_lets_nobody_in(client: AsyncClient, app: FastAPI, token: str):
    for method, path in routes(app):
        if f"{method} {path}" in PUBLIC or not path.startswith("/api/"):
            continue
        headers = {"Authorization": f"Bearer {token}"}
        answer = await client.request(method, re.sub(r"{\w+}", str(uuid4()), path), headers=headers)
        assert problem(answer)[0] == 401, f"{method} {path}"
