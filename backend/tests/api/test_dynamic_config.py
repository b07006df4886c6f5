"""Dynamic settings and flags through the front door: changed by those who may, seen by those who may, at once."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import AsyncClient, Response
from sqlmodel import select
from structlog.testing import capture_logs

from app.core import dynamic
from app.core.clock import utc_now
from app.core.config import settings
from app.core.db import new_session
from app.core.dynamic import Flag, Visibility
from app.crud import config_revision
from app.crud import user as users
from app.models import AuditEvent, ConfigRevision
from app.services import configuring, dynamic_config, erasure
from tests.counting import statements
from tests.declaring import more_keys
from tests.flows import PASSWORD, V1, Account, new_email, problem, signed_in
from tests.staff import id_of, with_roles
from tests.waiting import eventually

__all__ = ["more_keys"]

ADMIN, CONFIG, OFREP = f"{V1}/admin/config", f"{V1}/config", "/ofrep/v1/evaluate/flags"


@pytest.fixture
async def admin(client: AsyncClient) -> Account:
    return await with_roles(client, "admin")


async def put(admin: Account, key: str, value: Any, **more: Any) -> Response:
    headers = {**admin.bearer, **more.pop("headers", {})}
    return await admin.client.put(f"{ADMIN}/{key}", json={"value": value, **more}, headers=headers)


async def flags(client: AsyncClient, headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = await client.get(CONFIG, headers=headers or {})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["flags"]
    return found


# --- changing -------------------------------------------------------------------------------------------------------


async def test_every_declared_key_is_listed_with_what_holds(admin: Account) -> None:
    answer = await admin.client.get(ADMIN, headers=admin.bearer)
    items = {item["key"]: item for item in answer.json()["items"]}
    assert items.keys() == dynamic.DECLARED.keys()
    assert items["demo_banner"] == {
        "key": "demo_banner", "type": "bool", "default": False, "value": False, "visibility": "public",
        "description": "Tell visitors that this is a demonstration.", "owner": "service", "source": "default",
        "revision": 0, "updated_at": None, "updated_by": None,
    }  # fmt: skip


async def test_a_change_is_served_at_once_and_its_history_says_who_when_and_why(admin: Account) -> None:
    me = str(await id_of(admin))
    for value, comment in ((True, "a fair"), ({"percentage": 50}, None)):
        answer = await put(admin, "demo_banner", value, **({"comment": comment} if comment else {}))
        assert answer.status_code == 200, answer.text
        item = answer.json()
        assert (item["value"], item["source"], item["updated_by"]) == (value, "database", me)
        assert answer.headers["etag"] == f'"{item["revision"]}"'
        assert (await flags(admin.client))["demo_banner"] is (value is True)
    cleared = await admin.client.delete(f"{ADMIN}/demo_banner", headers=admin.bearer)
    assert (cleared.status_code, cleared.json()["source"], cleared.json()["revision"]) == (200, "default", 3)
    listed = (await admin.client.get(ADMIN, headers=admin.bearer)).json()["items"]
    assert [one for one in listed if one["key"] == "demo_banner"] == [cleared.json()]
    assert (await flags(admin.client))["demo_banner"] is False
    history = (await admin.client.get(f"{ADMIN}/demo_banner/history", headers=admin.bearer)).json()["items"]
    assert [(one["revision"], one["before"], one["after"], one["set"], one["comment"]) for one in history] == [
        (3, {"percentage": 50}, False, False, None),
        (2, True, {"percentage": 50}, True, None),
        (1, False, True, True, "a fair"),
    ]
    assert {one["actor_id"] for one in history} == {me}
    back = await admin.client.post(f"{ADMIN}/demo_banner/revert", json={"revision": 1}, headers=admin.bearer)
    assert (back.status_code, back.json()["value"], back.json()["revision"]) == (200, True, 4)
    assert (await flags(admin.client))["demo_banner"] is True
    async with new_session(read_only=True) as db:
        events = (await db.exec(select(AuditEvent).where(AuditEvent.target_id == "demo_banner"))).all()
    assert [event.action for event in events if str(event.actor_id) == me] == ["config_changed"] * 4


async def test_what_does_not_fit_is_refused_and_changes_nothing(admin: Account) -> None:
    for key, value in (
        ("demo_banner", "yes"),
        ("registration", "maybe"),
        ("rate_limit_login", "often"),
        ("invitation_codes", {"codes": [""]}),
    ):
        answer = await put(admin, key, value)
        assert problem(answer) == (422, "validation_failed")
        assert answer.json()["errors"][0]["pointer"].startswith("/value")
    assert problem(await put(admin, "nothing", True)) == (404, "not_found")
    revert = await admin.client.post(f"{ADMIN}/demo_banner/revert", json={"revision": 9}, headers=admin.bearer)
    assert problem(revert) == (404, "not_found")
    async with new_session(read_only=True) as db:
        assert (await db.exec(select(ConfigRevision))).all() == []


async def test_if_match_names_the_revision_that_was_read(admin: Account) -> None:
    assert (await put(admin, "demo_banner", True, headers={"If-Match": '"0"'})).status_code == 200
    for stale in ('"0"', '"2"', '"x"'):
        refused = await put(admin, "demo_banner", False, headers={"If-Match": stale})
        assert problem(refused) == (412, "precondition_failed")
    read = await admin.client.get(f"{ADMIN}/demo_banner", headers=admin.bearer)
    assert read.json()["value"] is True
    assert (await put(admin, "demo_banner", False, headers={"If-Match": read.headers["etag"]})).status_code == 200
    assert (await put(admin, "demo_banner", True)).status_code == 200


@pytest.mark.parametrize("role", ["user", "support"])
async def test_nobody_else_may_look_or_change(client: AsyncClient, role: str) -> None:
    other = await with_roles(client, *([role] if role != "user" else []))
    assert problem(await put(other, "demo_banner", True)) == (403, "permission_denied")
    for path in ("", "/demo_banner", "/demo_banner/history"):
        assert problem(await client.get(f"{ADMIN}{path}", headers=other.bearer)) == (403, "permission_denied")


# --- seeing ---------------------------------------------------------------------------------------------------------


async def test_a_change_of_another_process_is_seen(client: AsyncClient) -> None:
    """Through the service, whose commit is not this application's."""
    async with new_session() as db:
        await configuring.set_value(db, "demo_banner", True, actor=None)
        await db.commit()

    async def is_seen() -> bool:
        return (await flags(client))["demo_banner"] is True

    await eventually(is_seen)


async def test_what_has_not_changed_costs_no_statement(admin: Account) -> None:
    first = await admin.client.get(CONFIG)
    with statements() as asked:
        again = await admin.client.get(CONFIG, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, asked) == (304, b"", [])
    assert "authorization" in again.headers["vary"].lower()
    await put(admin, "demo_banner", True)
    changed = await admin.client.get(CONFIG, headers={"If-None-Match": first.headers["etag"]})
    assert (changed.status_code, changed.json()["flags"]["demo_banner"]) == (200, True)


@pytest.mark.usefixtures("more_keys")
async def test_a_private_key_is_in_no_public_answer(client: AsyncClient, admin: Account) -> None:
    assert (await put(admin, "test_secret", "tell-nobody-1")).status_code == 200
    user = await signed_in(client)
    for headers in ({}, user.bearer, admin.bearer):
        answers = [
            await client.get(CONFIG, headers=headers),
            await client.post(OFREP, headers=headers, json={"context": {}}),
            await client.post(f"{OFREP}/test_secret", headers=headers, json={"context": {}}),
            await client.post(f"{OFREP}/test_private_flag", headers=headers, json={"context": {}}),
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 404, 404]
        told = answers[0].text + answers[1].text
        assert "tell-nobody" not in told + answers[2].text
        assert "test_private_flag" not in told
        assert "test_secret" not in told
        assert ("test_user_flag" in told) is bool(headers)
        assert "test_public_flag" in told


@pytest.mark.usefixtures("more_keys")
async def test_a_rule_is_for_the_caller_of_the_token(client: AsyncClient, admin: Account) -> None:
    chosen, other = await signed_in(client), await signed_in(client)
    await put(admin, "demo_banner", {"users": [str(await id_of(chosen))]})
    assert [(await flags(client, one))["demo_banner"] for one in ({}, chosen.bearer, other.bearer)] == [
        False, True, False
    ]  # fmt: skip
    naming = {"context": {"targetingKey": str(await id_of(chosen))}}
    for headers, value in (({}, False), (other.bearer, False), (chosen.bearer, True), (admin.bearer, True)):
        answer = await client.post(f"{OFREP}/demo_banner", headers=headers, json=naming)
        assert (answer.status_code, answer.json()["value"]) == (200, value)


@pytest.mark.usefixtures("more_keys")
async def test_ofrep_answers_every_type_and_its_own_errors(client: AsyncClient) -> None:
    bulk = await client.post(OFREP, json={"context": {"targetingKey": "x"}})
    found = {one["key"]: one["value"] for one in bulk.json()["flags"]}
    expected = {"demo_banner": False, "test_int": 5, "test_float": 0.5, "test_string": "x", "test_span": 60.0,
                "test_json": {"codes": ["a"]}, "registration": "open"}  # fmt: skip
    assert expected.items() <= found.items()
    assert (await client.post(OFREP, json={}, headers={"If-None-Match": bulk.headers["etag"]})).status_code == 304
    for key, value in expected.items():
        one = (await client.post(f"{OFREP}/{key}", json={"context": {}})).json()
        assert (one["key"], one["value"], one["reason"]) == (key, value, "STATIC")
    for path, body, status, code in (
        ("/nothing", "{}", 404, "FLAG_NOT_FOUND"),
        ("/demo_banner", "{", 400, "PARSE_ERROR"),
        ("/demo_banner", "[]", 400, "INVALID_CONTEXT"),
        ("/demo_banner", '{"context": 5}', 400, "INVALID_CONTEXT"),
        ("", '{"context": {"targetingKey": 5}}', 400, "INVALID_CONTEXT"),
    ):
        answer = await client.post(f"{OFREP}{path}", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["errorCode"]) == (status, code)
        assert answer.json().get("key", "") == path[1:]


@pytest.mark.usefixtures("client", "more_keys")
async def test_a_thousand_flags_are_evaluated_without_io() -> None:
    for number in range(1_000):
        Flag(f"many_{number}", "For a test.", visibility=Visibility.public).use({"percentage": 50})
    with statements() as asked:
        found = dynamic.visible(dynamic.Caller(uuid4()))
    assert asked == []
    assert 400 < sum(found[f"many_{number}"] for number in range(1_000)) < 600


# --- used by the service --------------------------------------------------------------------------------------------


async def test_registration_closes_and_opens_without_a_restart(client: AsyncClient, admin: Account) -> None:
    await put(admin, "registration", "closed")
    assert problem(await Account(client).register()) == (403, "registration_closed")
    assert (await client.get(CONFIG)).json()["auth"]["registration"] is False
    await put(admin, "registration", "invitation")
    await put(admin, "invitation_codes", {"codes": ["welcome-42"]})
    assert problem(await Account(client).register()) == (403, "invitation_needed")
    for code, status in (("welcome-4", 403), ("welcome-42", 201)):
        body = {"email": new_email(), "password": PASSWORD, "invitation_code": code}
        assert (await client.post(f"{V1}/auth/register", json=body)).status_code == status
    await put(admin, "registration", "open")
    assert (await Account(client).register()).status_code == 201


@pytest.mark.parametrize("revision", [2**31, 2**63, 0, "1", True, 1.0])
async def test_a_revision_that_cannot_be_is_refused(admin: Account, revision: Any) -> None:
    await put(admin, "demo_banner", True)
    given = {"revision": revision}
    answer = await admin.client.post(f"{ADMIN}/demo_banner/revert", json=given, headers=admin.bearer)
    assert problem(answer) == (422, "validation_failed")


async def test_many_that_change_one_key_at_once_all_do(admin: Account) -> None:
    answers = await asyncio.gather(*(put(admin, "demo_banner", number % 2 == 0) for number in range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert sorted(answer.json()["revision"] for answer in answers) == list(range(1, 21))


@pytest.mark.parametrize(
    ("if_match", "status"),
    [('"2"', 200), ('"1", "2"', 200), ('"3","4"', 412), ("*", 200), ('W/"2"', 412), ("nothing", 412), ("2", 200)],
)
async def test_a_change_names_the_revisions_that_it_goes_by(admin: Account, if_match: str, status: int) -> None:
    for value in (True, False):
        await put(admin, "demo_banner", value)
    assert (await put(admin, "demo_banner", True, headers={"If-Match": if_match})).status_code == status


@pytest.mark.parametrize(
    ("key", "value", "pointer"),
    [
        ("demo_banner", {"percentage": 101}, "/value/percentage"),
        ("demo_banner", {"roles": ["nobody"]}, "/value/roles/0"),
        ("demo_banner", {"more": 1}, "/value/more"),
        ("demo_banner", "on", "/value"),
        ("invitation_codes", {"codes": ["good", ""]}, "/value/codes/1"),
        ("invitation_codes", {"codes": [1]}, "/value/codes/0"),
    ],
)
async def test_a_refusal_points_to_what_is_wrong(admin: Account, key: str, value: Any, pointer: str) -> None:
    answer = await put(admin, key, value)
    assert problem(answer) == (422, "validation_failed")
    [error] = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == (pointer, "config_value_invalid")


async def test_a_row_that_does_not_fit_any_more_is_not_said_to_hold(admin: Account) -> None:
    async with new_session() as db:
        for key, after in (("registration", {"value": "blue"}), ("maintenance", {"broken": True})):
            db.add(ConfigRevision(key=key, revision=1, created_at=utc_now(), before=None, after=after))
        await db.commit()
    listed = (await admin.client.get(ADMIN, headers=admin.bearer)).json()["items"]
    said = {one["key"]: (one["value"], one["source"]) for one in listed}
    assert said["registration"] == ("open", "default")
    assert said["maintenance"] == (False, "default")
    history = await admin.client.get(f"{ADMIN}/maintenance/history", headers=admin.bearer)
    assert history.status_code == 200


async def test_a_key_that_is_no_key_is_unknown(admin: Account) -> None:
    answer = await admin.client.get(f"{ADMIN}/{'x' * 5_000}", headers=admin.bearer)
    assert problem(answer) == (404, "not_found")


async def test_a_verified_email_is_needed_or_not_without_a_restart(client: AsyncClient, admin: Account) -> None:
    account, taken = await signed_in(client), await signed_in(client)

    async def says() -> bool:
        return bool((await client.get(CONFIG)).json()["auth"]["require_verified_email"])

    assert not await says()
    await put(admin, "verified_email", "needed")
    assert await says()
    assert problem(await account.login()) == (403, "email_not_verified")
    assert (await account.me()).status_code == 200, "a session that is open goes on"
    answers = [await one.register() for one in (Account(client), taken)]
    assert {(answer.status_code, answer.text) for answer in answers} == {(202, '{"status":"verification_pending"}')}
    async with new_session() as db:
        assert await erasure.erase_unproven(db, before=utc_now(), most=1_000) == 0, "the service was not started so"
    await put(admin, "verified_email", "not_needed")
    assert (await account.login()).status_code == 200
    assert [(await one.register()).status_code for one in (Account(client), taken)] == [201, 409]


async def test_accounts_that_nobody_proved_go_only_while_that_is_needed(
    client: AsyncClient, admin: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = Account(client)
    await account.register()
    monkeypatch.setitem(settings.__dict__, "require_verified_email", True)  # as if started with it
    for said, goes in (("not_needed", False), ("as_started", True)):
        await put(admin, "verified_email", said)
        async with new_session() as db:
            gone = await erasure.erase_unproven(db, before=utc_now(), most=1_000)
            assert (gone > 0) == goes
            assert (await users.get_by_email(db, account.email) is None) == goes


async def test_maintenance_lets_in_who_may_end_it_and_nobody_else(client: AsyncClient, admin: Account) -> None:
    user = await signed_in(client)
    await put(admin, "maintenance_retry_after", 90)
    await put(admin, "maintenance", True)
    refused = [await user.me(), await client.get(CONFIG), await client.get("/docs"), await user.refresh()]
    refused += [await Account(client, user.email).login(), await Account(client).register()]
    for answer in refused:
        assert problem(answer) == (503, "maintenance")
        assert answer.headers["retry-after"] == "90"
    assert (await client.get(f"{V1}/health")).status_code == 200
    assert (await client.get(f"{V1}/health/ready")).json()["checks"]["config"]["status"] == "healthy"
    assert (await admin.me()).status_code == 200
    again = Account(client, admin.email)
    assert (await again.login()).status_code == 200
    assert (await again.refresh()).status_code == 200
    assert (await put(again, "maintenance", False)).status_code == 200
    assert (await user.me()).status_code == 200
    assert (await user.refresh()).status_code == 200


async def test_the_log_level_changes_without_a_restart(client: AsyncClient, admin: Account) -> None:
    for value, lines in (("warning", 0), ("as_started", 1), ("error", 0), ("info", 1)):
        assert (await put(admin, "log_level", value)).status_code == 200
        with capture_logs() as logs:
            await client.get(f"{V1}/health")
        assert len([line for line in logs if line["event"] == "request_finished"]) == lines, value


async def test_the_last_known_values_are_served_while_they_cannot_be_read(
    admin: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(admin, "demo_banner", True)

    async def away(_: Any) -> Any:
        raise ConnectionRefusedError

    with monkeypatch.context() as patched:
        patched.setattr(
            config_revision, "current", away
        )  # this one question: a database that is away is in tests/faults
        dynamic_config._forget(None)
        assert (await flags(admin.client))["demo_banner"] is True
        ready = await admin.client.get(f"{V1}/health/ready")
        assert ready.json()["checks"]["config"]["status"] == "degraded"
    dynamic_config._forget(None)
    assert (await flags(admin.client))["demo_banner"] is True
    ready = await admin.client.get(f"{V1}/health/ready")
    assert ready.json()["checks"]["config"]["status"] == "healthy"
