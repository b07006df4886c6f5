"""A change of the configuration reaches other processes and open streams; the command line makes it too."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from subprocess import CompletedProcess
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode

from app.api import streams
from app.core.db import new_session
from app.core.sql import new_id
from app.crud import task as task_rows
from app.models import TaskStatus, TaskType
from app.services import tasks
from tests.audits import Audit, own
from tests.commands import neoforge
from tests.declaring import more_keys
from tests.flows import PASSWORD, V1, Account, problem, signed_in
from tests.limited import limited
from tests.processes import free_port
from tests.stack import Worker
from tests.staff import id_of, with_roles
from tests.streaming import served
from tests.waiting import eventually

__all__ = ["more_keys", "own"]

CONFIG, ADMIN = f"{V1}/config", f"{V1}/admin/config"
CHANGES = 12 if os.environ.get("FAULTS") == "short" else 200
BOUND = 1.0  # seconds


@pytest.mark.any_database
@pytest.mark.any_server
@pytest.mark.timeout(600)
@pytest.mark.parametrize("redis", ["up", "down"])
async def test_two_other_processes_see_each_change_within_a_second(server, client: AsyncClient, redis: str) -> None:
    settings = {} if redis == "up" else {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    admin = await with_roles(client, "admin")
    others = [AsyncClient(base_url=(await server(**settings)).url, trust_env=False) for _ in range(2)]
    delays: list[float] = []
    for number in range(CHANGES):
        value = number % 2 == 0
        answer = await client.put(f"{ADMIN}/demo_banner", json={"value": value}, headers=admin.bearer)
        assert answer.status_code == 200, answer.text
        began = time.monotonic()
        await asyncio.gather(*(_sees(other, value) for other in others))
        delays.append(time.monotonic() - began)
    print(f"Redis {redis}: the greatest of {CHANGES} delays was {max(delays) * 1e3:.0f} ms")
    assert max(delays) < BOUND
    for other in others:
        await other.aclose()


async def test_the_figures_of_the_limits_change_without_a_restart(server, new_client, client: AsyncClient) -> None:
    admin = await with_roles(client, "admin")
    limited_one = new_client(base_url=(await server(**limited(RATE_LIMIT_LOGIN="100/minute"))).url)

    async def policy(path: str) -> str:
        nobody = {"email": "nobody@example.com", "password": PASSWORD}
        answer = await limited_one.request("POST" if "login" in path else "GET", f"{V1}{path}", json=nobody)
        return str(answer.headers.get("ratelimit-policy"))

    async def is_policy(path: str, said: str) -> bool:
        return await policy(path) == said

    assert await policy("/auth/login") == '"login";q=100;w=60'
    for rule, path, rate, said in (
        ("login", "/auth/login", "7/hour", '"login";q=7;w=3600'),
        ("general", "/config", "500/minute", '"general";q=500;w=60'),
        ("general", "/config", "false", "None"),
    ):
        await _set(admin, f"rate_limit_{rule}", rate)
        await eventually(partial(is_policy, path, said))
    await _set(admin, "rate_limit_login", "1/hour")

    async def is_refused() -> bool:
        nobody = {"email": "nobody@example.com", "password": PASSWORD}
        return (await limited_one.post(f"{V1}/auth/login", json=nobody)).status_code == 429

    await eventually(is_refused)


async def _sees(other: AsyncClient, value: bool) -> None:
    async with asyncio.timeout(10):
        while (await other.get(CONFIG)).json()["flags"]["demo_banner"] is not value:
            await asyncio.sleep(0.01)  # as a client that polls


async def test_what_runs_tasks_goes_by_it_too(client: AsyncClient, worker: Worker) -> None:
    admin = await with_roles(client, "admin")

    async def is_logged() -> bool:
        """Whether it is when a task ends now."""
        async with new_session() as db:
            made = await tasks.enqueue(db, TaskType.welcome_email, user_id=new_id())
            await db.commit()

        async def has_ended() -> bool:
            async with new_session(read_only=True) as db:
                found = await task_rows.get(db, made.id)
            return found is not None and found.status == TaskStatus.succeeded

        await eventually(has_ended)
        said = [line for line in worker.worker.output().splitlines() if '"task_finished"' in line]
        return any(str(made.id) in line for line in said)

    assert await is_logged()
    await _set(admin, "log_level", "warning")
    await eventually(lambda: _is_not(is_logged))
    await _set(admin, "log_level", "as_started")
    await eventually(is_logged)


async def _is_not(check: Callable[[], Awaitable[bool]]) -> bool:
    return not await check()


async def test_a_stream_tells_the_configuration_and_each_change_that_its_reader_may_know(
    app: FastAPI, client: AsyncClient
) -> None:
    admin = await with_roles(client, "admin")
    async with (
        served(app) as url,
        AsyncClient(base_url=url, trust_env=False, timeout=20) as reader,
        reader.stream("GET", f"{CONFIG}/stream") as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = _events(stream)
        assert (await anext(events))["flags"]["demo_banner"] is False
        await _set(admin, "invitation_codes", {"codes": ["secret-code"]})  # private: nothing is told of it
        await _set(admin, "demo_banner", True)
        told = await anext(events)
        assert told["flags"]["demo_banner"] is True
        assert "secret-code" not in json.dumps(told)


async def test_a_stream_goes_by_the_roles_that_its_reader_has_now(app: FastAPI, client: AsyncClient) -> None:
    admin, user = await with_roles(client, "admin"), await signed_in(client)
    await _set(admin, "demo_banner", {"roles": ["support"]})
    async with (
        served(app) as url,
        AsyncClient(base_url=url, trust_env=False, timeout=20, headers=user.bearer) as reader,
        reader.stream("GET", f"{CONFIG}/stream") as stream,
    ):
        events = _events(stream)
        assert (await anext(events))["flags"]["demo_banner"] is False
        for roles, told in ((["support"], True), ([], False)):
            path = f"{V1}/admin/users/{await id_of(user)}"
            assert (await client.patch(path, json={"roles": roles}, headers=admin.bearer)).status_code == 200
            assert (await anext(events))["flags"]["demo_banner"] is told


async def test_strangers_of_one_client_have_so_many_streams_and_no_more(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "A_CLIENT", 3)
    async with served(app) as url, AsyncExitStack() as held:
        reader = await held.enter_async_context(AsyncClient(base_url=url, trust_env=False, timeout=20))
        for _ in range(3):
            answer = await held.enter_async_context(reader.stream("GET", f"{CONFIG}/stream"))
            assert answer.status_code == 200
        assert problem(await reader.get(f"{CONFIG}/stream")) == (429, "too_many_streams")


async def _events(stream: Any) -> Any:
    async for line in stream.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


async def _set(admin: Account, key: str, value: Any) -> None:
    answer = await admin.client.put(f"{ADMIN}/{key}", json={"value": value}, headers=admin.bearer)
    assert answer.status_code == 200, answer.text


@pytest.mark.usefixtures("more_keys")
async def test_an_openfeature_sdk_resolves_every_type_the_defaults_and_the_errors(
    app: FastAPI, client: AsyncClient
) -> None:
    admin = await with_roles(client, "admin")
    user = await signed_in(client)
    await _set(admin, "demo_banner", {"users": [str(await id_of(user))]})
    async with served(app) as url:
        found = await asyncio.to_thread(_resolved, url, user.bearer)
        strangers = await asyncio.to_thread(_resolved, url, {})
    assert found == {
        "demo_banner": (True, "TARGETING_MATCH", None),
        "test_int": (5, "STATIC", None),
        "test_float": (0.5, "STATIC", None),
        "test_string": ("x", "STATIC", None),
        "test_json": ({"codes": ["a"]}, "STATIC", None),
        "nothing": ("mine", "ERROR", ErrorCode.FLAG_NOT_FOUND),
        "test_secret": ("mine", "ERROR", ErrorCode.FLAG_NOT_FOUND),
        "registration": (7, "ERROR", ErrorCode.TYPE_MISMATCH),
    }
    assert strangers == {**found, "demo_banner": (False, "DEFAULT", None)}


def _resolved(url: str, headers: dict[str, str]) -> dict[str, tuple[Any, str | None, ErrorCode | None]]:
    """What the SDK says of each key: value, reason, error."""
    api.set_provider_and_wait(OFREPProvider(url, headers_factory=lambda: headers), "test")
    sdk, whom = api.get_client("test"), EvaluationContext("somebody-else", {"plan": "free"})
    details = [
        sdk.get_boolean_details("demo_banner", False, whom),
        sdk.get_integer_details("test_int", 0, whom),
        sdk.get_float_details("test_float", 0.0, whom),
        sdk.get_string_details("test_string", "", whom),
        sdk.get_object_details("test_json", {}, whom),
        sdk.get_string_details("nothing", "mine", whom),
        sdk.get_string_details("test_secret", "mine", whom),
        sdk.get_integer_details("registration", 7, whom),
    ]
    return {one.flag_key: (one.value, one.reason and str(one.reason), one.error_code) for one in details}


async def test_the_command_line_lists_sets_unsets_and_reverts(own: Audit) -> None:
    async def config(*arguments: str, code: int = 0) -> CompletedProcess[str]:
        done = await asyncio.to_thread(neoforge, "config", *arguments, DATABASE_URL=own.url)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    assert (await config("get", "demo_banner")).stdout == "false\n"
    assert (
        "demo_banner is true (revision 1)" in (await config("set", "demo_banner", "true", "--comment", "fair")).stdout
    )
    assert 'registration is "closed" (revision 1)' in (await config("set", "registration", "closed")).stdout
    assert (await config("get", "registration")).stdout == '"closed"\n'
    await config("unset", "demo_banner")
    await config("revert", "demo_banner", "1")
    history = [json.loads(line) for line in (await config("history", "demo_banner", "--json")).stdout.splitlines()]
    assert [(one["revision"], one["after"], one["comment"]) for one in history] == [
        (3, True, "back to revision 1"), (2, False, None), (1, True, "fair"),
    ]  # fmt: skip
    listed = {one["key"]: one for one in map(json.loads, (await config("list", "--json")).stdout.splitlines())}
    assert (listed["demo_banner"]["value"], listed["demo_banner"]["source"]) == (True, "database")
    assert "nothing" not in listed
    assert "there is no such key" in (await config("get", "nothing", code=2)).stderr
    assert (await config("set", "demo_banner", "maybe", code=2)).stdout == ""
    assert 'rate_limit_login is "false"' in (await config("set", "rate_limit_login", "false")).stdout
    codes = "invitation_codes"
    for refused in (
        ("set", codes, '{"codes": [NaN]}'),
        ("set", codes, '{"codes": ["\\ud800"]}'),
        ("set", codes, '{"codes": ["\\u0000"]}'),
        ("set", codes, "[" * 100_000),
        ("set", "demo_banner", "true", "--comment", "x" * 501),
        ("revert", "demo_banner", "99999999999999999999"),
    ):
        done = await config(*refused, code=2)
        assert (done.stdout, len(done.stderr.splitlines())) == ("", 1), done.stderr
