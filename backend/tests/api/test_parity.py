"""Nobody learns who has an account: what is known and what is not are answered alike, and cost the same work."""

from typing import Any

import pytest
from httpx2 import AsyncClient, Response

from app.core import security
from app.core.config import settings
from app.core.db import new_session
from tests.counting import Work, counted
from tests.factories import make_user
from tests.flows import V1, new_email
from tests.links import mails_of

ROUTES = {
    "login": ("/auth/login", {"password": "wrong-plum-otter-77"}),
    "register": ("/auth/register", {"password": "another-plum-otter-77", "full_name": "Somebody"}),
    "forgot": ("/auth/password/forgot", {}),
    "resend": ("/auth/verify-email/resend", {}),
}
KNOWN: dict[str, dict[str, Any]] = {
    "unverified": {"is_verified": False},
    "verified": {"is_verified": True},
    "disabled": {"is_active": False},
    "disabled and unverified": {"is_active": False, "is_verified": False},
}
ITS_OWN = {"x-request-id", "date"}


@pytest.fixture(autouse=True)
def _where_nobody_may_learn_who_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sign-in needs a verified address. The status of `register` is chosen at the start: another test shows it."""
    monkeypatch.setitem(settings.__dict__, "require_verified_email", True)
    security._dummy_hash()


async def asked(client: AsyncClient, route: str, email: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Response, Work]:
    path, fields = ROUTES[route]
    with counted(monkeypatch) as work:
        answer = await client.post(f"{V1}{path}", json={"email": email, **fields})
    return answer, work


def visible(answer: Response) -> tuple[int, Any, dict[str, str], list[str]]:
    body = {name: value for name, value in answer.json().items() if name != "request_id"}
    headers = {name: value for name, value in answer.headers.items() if name not in ITS_OWN}
    return answer.status_code, body, headers, list(answer.cookies)


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("route", ROUTES)
async def test_known_and_unknown_addresses_are_alike(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch, route: str, known: str
) -> None:
    async with new_session() as db:
        user = await make_user(db, **KNOWN[known])
    unknown_answer, unknown = await asked(client, route, new_email(), monkeypatch)
    known_answer, work = await asked(client, route, user.email, monkeypatch)
    assert visible(known_answer) == visible(unknown_answer)
    assert work.hashes == unknown.hashes
    assert len(work.hashes) == (1 if route in ("login", "register") else 0)
    assert work.statements == unknown.statements
    assert len(work.statements) > 2


async def test_the_right_password_of_a_disabled_account_tells_nothing_either(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with new_session() as db:
        user = await make_user(db, is_active=False, password=str(ROUTES["login"][1]["password"]))
    unknown_answer, unknown = await asked(client, "login", new_email(), monkeypatch)
    answer, work = await asked(client, "login", user.email, monkeypatch)
    assert visible(answer) == visible(unknown_answer)
    assert (work.hashes, work.statements) == (unknown.hashes, unknown.statements)


@pytest.mark.parametrize("route", ["register", "forgot", "resend"])
async def test_they_stay_alike_once_the_mails_of_an_hour_are_spent(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    async with new_session() as db:
        user = await make_user(db)
    nobody = new_email()
    for _ in range(5):
        for email in (user.email, nobody):
            await asked(client, "forgot", email, monkeypatch)
    before = await mails_of(user.email)
    if route == "register":  # the address is known from the first registration on
        nobody = user.email
    unknown_answer, unknown = await asked(client, route, nobody, monkeypatch)
    answer, work = await asked(client, route, user.email, monkeypatch)
    assert visible(answer) == visible(unknown_answer)
    assert work.statements == unknown.statements
    assert await mails_of(user.email) == before
