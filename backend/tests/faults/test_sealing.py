"""`kill -9` of a process that seals: another goes on with the chain, and it stays one chain."""

import os
import random

import pytest

from tests.audits import Audit, own
from tests.faults.stack import rounds
from tests.services import Services
from tests.stack import Process
from tests.waiting import eventually

__all__ = ["own"]
pytestmark = pytest.mark.timeout(600)


async def test_a_sealer_that_is_killed_is_replaced_and_the_chain_stays_whole(own: Audit, services: Services) -> None:
    env = {"DATABASE_URL": own.url, "REDIS_PREFIX": os.environ["REDIS_PREFIX"] + "sealers:"}
    schedulers = [Process(services, ["scheduler"], env) for _ in range(2)]
    events = 0

    async def all_sealed() -> bool:
        return (await own.execute("SELECT count(*) FROM audit_seals"))[0][0] == events

    try:
        for _ in range(rounds(20, 3)):
            for _ in range(random.randrange(1, 8)):
                await own.record(50)
                events += 50
            random.choice(schedulers).kill()  # one of them holds the lease, or both have done their work
            await own.record(50)
            events += 50
            await eventually(all_sealed, within=60)
            for scheduler in schedulers:
                if scheduler.process.poll() is not None:
                    scheduler.start_again()
    finally:
        for scheduler in schedulers:
            scheduler.stop()
    report = await own.verify()
    assert (report.faults, report.sealed, report.unsealed) == ([], events, 0)
    print(f"events={events}")
