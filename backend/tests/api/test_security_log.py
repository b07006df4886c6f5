"""What the log says of a refusal: why, whose account asked, and which client, without saying who that is."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest
from httpx2 import AsyncClient
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.models.audit import Action, AuditEvent
from tests.fixtures import Clock, NewClient
from tests.flows import PASSWORD, V1, Account, new_email, problem
from tests.stack import Server
from tests.waiting import eventually

LOGIN = f"{V1}/auth/login"


class Lines:
    """The lines of finished requests, each read once."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd
        self.text = ""

    def refused(self) -> list[dict[str, object]]:
        self.text = self._capfd.readouterr().err
        found = [json.loads(line) for line in self.text.splitlines() if '"request_finished"' in line]
        return [line for line in found if line["status"] >= 400]


@pytest.fixture
def lines(capfd: pytest.CaptureFixture[str]) -> Lines:
    return Lines(capfd)


async def test_a_failed_sign_in_says_why_and_names_nobody(client: AsyncClient, lines: Lines) -> None:
    answer = await client.post(LOGIN, json={"email": new_email(), "password": PASSWORD})
    (line,) = lines.refused()
    assert (line["code"], line["status"]) == ("invalid_credentials", 401)
    assert line["request_id"] == answer.headers["x-request-id"]
    assert "actor_id" not in line
    assert "127.0.0.1" not in lines.text


async def test_an_oauth_refusal_says_what_its_answer_must_not(client: AsyncClient, lines: Lines) -> None:
    form = {"grant_type": "password", "username": new_email(), "password": PASSWORD}
    assert (await client.post(f"{V1}/auth/token", data=form)).json()["error"] == "invalid_grant"
    assert (await client.post(f"{V1}/auth/token", data={"grant_type": "magic"})).status_code == 400
    assert [line["code"] for line in lines.refused()] == ["invalid_credentials", "unsupported_grant_type"]


async def test_lines_of_one_client_can_be_told_from_anothers(new_client: NewClient, lines: Lines) -> None:
    for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"):
        await new_client(client_address=address).get(f"{V1}/users/me")
    first, again, other, six, same_network = (line["client"] for line in lines.refused())
    assert first == again
    assert six == same_network  # one customer's IPv6 /64
    assert len({first, other, six}) == 3


async def test_what_an_account_was_refused_names_it_by_id(account: Account, clock: Clock, lines: Lines) -> None:
    me = (await account.me()).json()["id"]
    unknown = f"{V1}/users/me/sessions/{me}"
    assert problem(await account.client.delete(unknown, headers=account.bearer)) == (404, "not_found")
    bad = {"full_name": "Ada", "roles": ["admin"]}
    assert problem(await account.client.put(f"{V1}/users/me", json=bad, headers=account.bearer))[0] == 422
    wrong = {"password": "not-the-password-1"}
    await account.client.post(f"{V1}/auth/reauthenticate", json=wrong, headers=account.bearer)
    clock.advance(timedelta(minutes=16))
    await account.refresh()
    pair = (await account.refresh(account.pair["refresh_token"])).json()
    stale = {"Authorization": f"Bearer {pair['access_token']}"}
    assert problem(await account.client.delete(f"{V1}/users/me", headers=stale)) == (403, "reauthentication_required")
    refused = lines.refused()
    assert [line["code"] for line in refused] == [
        "not_found",
        "validation_failed",
        "wrong_password",
        "reauthentication_required",
    ]
    assert {line["actor_id"] for line in refused} == {me}


async def test_a_wrong_password_of_who_is_signed_in_is_audited(db: AsyncSession, account: Account) -> None:
    me = UUID((await account.me()).json()["id"])
    new = {"current_password": "not-the-password-1", "new_password": "velvet-tundra-17-kayak"}
    for path, body in (
        ("/auth/reauthenticate", {"password": "not-the-password-1"}),
        ("/users/me/password", new),
        ("/users/me/email", {"current_password": "not-the-password-1", "new_email": new_email()}),
    ):
        answer = await account.client.post(V1 + path, json=body, headers=account.bearer)
        assert problem(answer) == (403, "wrong_password"), path
    refused = select(AuditEvent).where(AuditEvent.action == Action.password_refused, AuditEvent.actor_id == me)
    found = (await db.exec(refused)).all()
    assert [(one.actor_id, one.target_id, one.result) for one in found] == [(me, str(me), "failure")] * 3


async def test_a_request_over_its_limit_is_told(
    server: Callable[..., Awaitable[Server]], new_client: NewClient
) -> None:
    running = await server(RATE_LIMIT_ENABLED="true", RATE_LIMIT_LOGIN="1/minute")
    client = new_client(running.url)
    for status in (401, 429):
        answer = await client.post(LOGIN, json={"email": new_email(), "password": PASSWORD})
        assert answer.status_code == status

    def refusals() -> list[dict[str, str]]:
        return [json.loads(line) for line in running.output().splitlines() if '"code"' in line]

    await eventually(lambda: len(refusals()) == 2)  # a line may be written after its answer
    refused = refusals()
    assert [line["code"] for line in refused] == ["invalid_credentials", "rate_limited"]
    assert len({line["client"] for line in refused}) == 1
