"""Machines whose clocks are an hour apart, either way: no lease is stolen, and nothing is late or lost."""

from collections import Counter
from functools import partial

import pytest

from tests.databases import own_database
from tests.faults import tested_tasks
from tests.faults.conftest import Start
from tests.faults.load import load
from tests.faults.recorder import Recorder, session, settled
from tests.faults.stack import Role, rounds
from tests.inbox import Inbox
from tests.services import Services
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(600)


def an_hour(command: str, ahead: int) -> Role:
    return Role(command, {"CLOCK_AHEAD": str(ahead)}, tested_tasks.MAIN)


async def test_no_lease_is_stolen_and_no_mail_is_late(
    services: Services, start: Start, recorder: Recorder, smtp: Inbox
) -> None:
    database = own_database(services, "clocks")
    seconds = rounds(35, 3)  # longer than a lease lasts unrenewed; in the short form than some rounds of the relay
    async with session(database, read_only=False) as db:
        await tested_tasks.prepare(db)
        promised = await tested_tasks.promise(db, 4, seconds=seconds)
    roles = {f"{name}-{ahead}": an_hour(name, ahead) for name in ("serve", "worker", "scheduler") for ahead in (-1, 1)}
    stack = await start(roles, DATABASE_URL=database)

    async def are(what: str) -> bool:
        async with session(database) as db:
            return set(await tested_tasks.counted(db, what)) == promised

    await eventually(partial(are, "starts"))
    for address in stack.addresses:  # so that the relays have work while the tasks run
        async with load(address, recorder, clients=1):
            await recorder.answered(4)
    await eventually(partial(are, "effects"), within=30 + seconds)
    print(await settled(recorder, stack, smtp, within=30, mails=1))
    async with session(database) as db:
        assert set(Counter(await tested_tasks.counted(db, "starts")).values()) == {1}
