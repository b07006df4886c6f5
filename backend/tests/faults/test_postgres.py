"""PostgreSQL that is restarted, and cut off while it commits: 2xx is stored, and what is unknown can be settled."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from httpx2 import Response
from sqlalchemy import text

from app.core.config import settings
from app.core.db import build_engine
from app.crud import change
from app.tools import migrate
from tests.faults.conftest import Start
from tests.faults.load import load
from tests.faults.proxy import COMMIT, Proxy
from tests.faults.recorder import Recorder, settled
from tests.faults.servers import Postgres
from tests.faults.stack import SHORT, Role, rounds
from tests.flows import PASSWORD, V1, new_email, problem
from tests.inbox import Inbox
from tests.services import Services, execute, postgres_answers
from tests.waiting import eventually

pytestmark = [pytest.mark.timeout(900), pytest.mark.stack(name="server")]
FAST, IMMEDIATE = signal.SIGINT, signal.SIGQUIT
CLAIM, WORK = re.compile(b"INSERT INTO idempotency_keys"), re.compile(b"INSERT INTO users")
LAPSE = "UPDATE idempotency_keys SET lease_until = clock_timestamp() WHERE status IS NULL"


@pytest.fixture
async def postgres(services: Services, tmp_path: Path) -> AsyncIterator[Postgres]:
    """A PostgreSQL that may break, migrated."""
    server = Postgres(Path(services.folder) / tmp_path.name)
    await server.start()
    await asyncio.to_thread(migrate.upgrade, server.url)
    yield server
    server.stop(FAST)


async def lapse(postgres: Postgres) -> None:
    """In the short form nobody waits for the lease of a key whose request died with its connection."""
    if SHORT:
        with suppress(OSError, asyncpg.PostgresError):  # it may be away: the next refusal tries again
            await asyncio.to_thread(execute, postgres.url, LAPSE)


@pytest.mark.parametrize("ways", [(FAST, IMMEDIATE)] if SHORT else [(FAST,) * 8, (IMMEDIATE,) * 8])
async def test_postgresql_is_restarted_on_and_on(
    start: Start, postgres: Postgres, recorder: Recorder, smtp: Inbox, ways: tuple[signal.Signals, ...]
) -> None:
    stack = await start(DATABASE_URL=postgres.url)
    async with load(stack.addresses[0], recorder, keyed=True, in_progress=partial(lapse, postgres)):
        for way in ways:
            await recorder.answered(5)
            postgres.stop(way)
            await postgres.start()
        await recorder.answered(5)
    print(await settled(recorder, stack, smtp))


@pytest.mark.parametrize("arrives", [True, False], ids=["the answer", "the commit"])
async def test_what_is_lost_around_a_commit_is_settled_by_the_same_key(
    start: Start, postgres: Postgres, recorder: Recorder, smtp: Inbox, arrives: bool
) -> None:
    with Proxy(postgres.url) as way:
        api = Role("serve", {"DATABASE_URL": way.url})
        roles = {"api": api, "worker": Role("worker"), "scheduler": Role("scheduler")}
        stack = await start(roles, DATABASE_URL=postgres.url)
        async with load(stack.addresses[0], recorder, keyed=True, in_progress=partial(lapse, postgres)):
            await recorder.answered(2)
            (way.drop_reply if arrives else way.drop_request)(COMMIT, each=3)
            await eventually(lambda: way.cuts >= rounds(100, 10), within=300)
            way.restore()
            await recorder.answered(2)
        print(f"cuts={way.cuts} {await settled(recorder, stack, smtp, mails=1)}")


# --- one commit after the other: the claim of the key, and the work -------------------------------------------------


@pytest.fixture
async def way() -> AsyncIterator[Proxy]:
    with Proxy(settings.database_url) as proxy:
        yield proxy


@pytest.fixture
async def register(server, new_client, way: Proxy) -> Callable[[], Awaitable[Response]]:
    """Register the same account under the same key, by a server on the other side of the way."""
    client = new_client((await server(DATABASE_URL=way.url)).url)
    body = {"email": new_email(), "password": PASSWORD}
    return partial(client.post, f"{V1}/auth/register", json=body, headers={"Idempotency-Key": new_email()})


async def test_a_key_whose_claim_was_stored_unheard_is_free_at_once(register, way: Proxy) -> None:
    way.drop_reply(COMMIT, after=CLAIM)
    assert problem(await register()) == (503, "service_unavailable")
    way.restore()
    assert (await register()).status_code == 201


async def test_a_registration_that_was_stored_unheard_is_answered_when_it_is_asked_again(register, way: Proxy) -> None:
    way.drop_reply(COMMIT, after=WORK)
    assert problem(await register()) == (503, "service_unavailable")
    way.restore()
    answer = await register()
    assert (answer.status_code, answer.headers.get("Idempotency-Replayed")) == (201, "true")


async def test_a_registration_that_was_lost_with_its_commit_is_made_when_it_is_asked_again(
    register, way: Proxy
) -> None:
    way.drop_request(COMMIT, after=WORK)
    assert problem(await register()) == (503, "service_unavailable")
    way.restore()
    answer = await register()
    assert (answer.status_code, answer.headers.get("Idempotency-Replayed")) == (201, None)


async def test_after_a_crash_numbers_that_come_again_are_not_compared(postgres: Postgres) -> None:
    """The server stays the same process; numbers of transactions that had not come to the disk are given out again."""
    engine = build_engine(postgres.url, pool_size=1).execution_options(isolation_level="AUTOCOMMIT")
    witness = await asyncpg.connect(postgres.url)
    async with engine.connect() as connection:
        started = await connection.scalar(text("SELECT pg_postmaster_start_time()"))
        for _ in range(50):
            await connection.execute(text("SELECT pg_current_xact_id()"))
        _, place = await change.since(connection, await change.here(connection))
        victim = await connection.scalar(text("SELECT pg_backend_pid()"))
        os.kill(victim, signal.SIGKILL)
        await connection.invalidate()
    await eventually(witness.is_closed)  # the server has noticed, and told all others to go
    await eventually(lambda: postgres_answers(postgres.url))
    async with engine.connect() as connection:
        after = await change.here(connection)
        assert await connection.scalar(text("SELECT pg_postmaster_start_time()")) == started
    await engine.dispose()
    assert after.at < place.at
    assert not after.sees(place)
    assert not replace(after, at=place.at + 1).sees(place)
