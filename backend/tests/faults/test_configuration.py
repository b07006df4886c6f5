"""Dynamic settings while the database is away: what was known last goes on being served, and readiness says so."""

import asyncio
from typing import Any

import pytest
from httpx2 import AsyncClient

from tests.commands import neoforge
from tests.databases import own_database
from tests.faults.conftest import Start
from tests.faults.proxy import Proxy
from tests.faults.stack import Role, rounds
from tests.flows import V1
from tests.services import Services
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)


@pytest.mark.stack(name="server")  # a proxy stands before a server
@pytest.mark.parametrize("away", ["blackholed", "refused"])
async def test_the_last_known_values_are_served_while_the_database_is_away(
    start: Start, services: Services, away: str
) -> None:
    url = own_database(services, f"configuration-{away}")

    async def change(value: str) -> None:
        done = await asyncio.to_thread(lambda: neoforge("config", "set", "demo_banner", value, DATABASE_URL=url))
        assert done.returncode == 0, done.stderr

    with Proxy(url) as way:
        stack = await start({"api": Role("serve", {"DATABASE_URL": way.url})}, DATABASE_URL=url)
        [address] = stack.addresses
        async with AsyncClient(base_url=address, trust_env=False, timeout=15) as client:

            async def banner() -> Any:
                answer = await client.get(f"{V1}/config")
                assert answer.status_code == 200, answer.text
                return answer.json()["flags"]["demo_banner"]

            async def state() -> str:
                return str((await client.get(f"{V1}/health/ready")).json()["checks"]["config"]["status"])

            async def is_degraded() -> bool:
                return await state() == "degraded"

            async def is_healthy() -> bool:
                return await state() == "healthy"

            async def shows(value: bool) -> bool:
                return await banner() is value

            for number in range(rounds(5, 1)):
                before, after = number % 2 == 0, number % 2 == 1
                await change(str(before).lower())
                await eventually(lambda value=before: shows(value))
                way.blackhole() if away == "blackholed" else way.refuse()
                await change(str(after).lower())  # the database is there for others
                await eventually(is_degraded)
                for _ in range(20):
                    assert await banner() is before
                way.restore()
                await eventually(lambda value=after: shows(value))
                await eventually(is_healthy)
