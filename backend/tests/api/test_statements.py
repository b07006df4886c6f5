"""How many statements a request costs.

Not counted is what every change writes beside it: audit, feed, key.
"""

import pytest
from httpx2 import AsyncClient

from app.services import feed, principal_cache
from tests.counting import statements
from tests.flows import V1, Account, signed_in
from tests.waiting import eventually

BESIDE = ("BEGIN", "INSERT INTO audit", "INSERT INTO changes", "idempotency_keys")


def counted(asked: list[str]) -> list[str]:
    return [one for one in asked if not any(beside in one for beside in BESIDE)]


@pytest.mark.parametrize(
    ("call", "most"), [("me", 0), ("refresh", 2), ("login", 4), ("logout", 2), ("sessions", 2), ("register", 4)]
)
async def test_a_request_costs_no_more_statements_than(client: AsyncClient, call: str, most: int) -> None:
    account = await signed_in(client)
    await account.login()  # a network that is known
    await eventually(feed.is_fresh)
    assert (await account.me()).status_code == 200
    assert principal_cache.find(account.pair["access_token"].encode())
    requests = {
        "me": account.me,
        "refresh": account.refresh,
        "login": account.login,
        "logout": account.logout,
        "sessions": lambda: client.get(f"{V1}/users/me/sessions", headers=account.bearer),
        "register": Account(client).register,
    }
    with statements() as asked:
        answer = await requests[call]()
    assert answer.is_success
    found = counted(asked)
    assert len(found) <= most, "\n".join(found)
