"""Requests leave nothing behind: after some hundred more of each kind the process has as many objects as before."""

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from weakref import ReferenceType

import pytest
from httpx2 import AsyncClient, Response

from app.core import security
from tests.flows import V1, Account, signed_in

# Without coverage: to trace the counting costs as much again, and the requests are those of other tests.
pytestmark = [pytest.mark.any_server, pytest.mark.no_cover]
WARM, ROUNDS, MORE = 60, 3, 100
MOST = 10  # objects of one type that may be new in a round: less than one for ten requests


async def _refresh(account: Account) -> Response:
    answer = await account.refresh()
    account.pair = answer.json()
    return answer


KINDS: dict[str, Callable[[Account], Awaitable[Response]]] = {
    "me": lambda account: account.me(),
    "refresh": _refresh,
    "sessions": lambda account: account.client.get(f"{V1}/users/me/sessions", headers=account.bearer),
    "nobody": lambda account: account.client.get(f"{V1}/users/me"),
    "unreadable": lambda account: account.client.post(f"{V1}/auth/refresh", content=b"{"),
    "unknown path": lambda account: account.client.get("/nothing"),
    "forged": lambda account: account.client.get(f"{V1}/users/me", headers={"Authorization": "Bearer a.b.c"}),
    "health": lambda account: account.client.get(f"{V1}/health"),
    "a name": lambda account: account.client.put(f"{V1}/users/me", headers=account.bearer, json={"full_name": "Ada"}),
}


async def _objects() -> Counter[str]:
    """How many there are of each type, once the loop has let go of the timers that were cancelled."""
    loop = asyncio.get_running_loop()
    for _ in range(200):  # it does so once more than a hundred wait, and they are the most
        loop.call_later(60, print).cancel()
    await asyncio.sleep(0)  # a turn of the loop
    gc.collect()
    return Counter(type(one).__qualname__ for one in gc.get_objects() if not _is_dead(one))


def _is_dead(one: object) -> bool:
    """A weak reference to what has gone: the driver of SQLite throws them away by the hundred."""
    return type(one) is ReferenceType and one() is None


@pytest.fixture
def only_new() -> Iterator[Callable[[], None]]:
    """Leave out of the counting what there is when it is called: some hundred thousand objects, counted each time."""
    yield gc.freeze
    gc.unfreeze()


@pytest.mark.parametrize("kind", KINDS)
async def test_requests_leave_no_objects_behind(client: AsyncClient, kind: str, only_new: Callable[[], None]) -> None:
    account, ask = await signed_in(client), KINDS[kind]
    for _ in range(WARM):
        await ask(account)
    await _objects()  # what counting makes for itself, the first time
    only_new()
    grown: set[str] | None = None
    for _ in range(ROUNDS):
        before = await _objects()
        for _ in range(MORE):
            await ask(account)
        security._verified.clear()  # bounded by itself: `refresh` makes a token each time, which `me` would look at
        now = {name for name, number in (await _objects()).items() if number - before[name] > MOST}
        # What runs beside makes things once, such as a statement's compiled form; what leaks grows in each round.
        grown = now if grown is None else grown & now
    assert not grown
