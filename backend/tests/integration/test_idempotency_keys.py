"""`Idempotency-Key` where processes die, and where nobody may learn who exists."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from httpx2 import HTTPError
from sqlalchemy import text
from sqlmodel import func, select, update

from app.core.db import engine, new_session
from app.models import BackgroundTask, IdempotencyKey, User
from tests.factories import ago
from tests.fixtures import NewClient
from tests.flows import PASSWORD, V1, new_email, problem
from tests.stack import Server
from tests.waiting import eventually

REGISTER = f"{V1}/auth/register"
SLOW = {
    "sqlite": [
        """CREATE TRIGGER slow AFTER INSERT ON users BEGIN SELECT count(*) FROM (WITH RECURSIVE n(i) AS
           (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000000000) SELECT i FROM n); END"""
    ],
    "postgresql": [
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(25); RETURN NULL; END'",
        "CREATE TRIGGER slow AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION slow()",
    ],
}
FAST = {
    "sqlite": ["DROP TRIGGER slow"],
    "postgresql": [
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
        "DROP TRIGGER slow ON users",
        "DROP FUNCTION slow",
    ],
}


@asynccontextmanager
async def registering_is_slow() -> AsyncIterator[None]:
    async def run(statements: list[str]) -> None:
        async with engine().begin() as connection:
            for statement in statements:
                await connection.execute(text(statement))

    await run(SLOW[engine().dialect.name])
    try:
        yield
    finally:
        await run(FAST[engine().dialect.name])


async def test_a_key_whose_process_was_killed_is_free_after_its_lease(
    server: Callable[..., Awaitable[Server]], new_client: NewClient, clean: None
) -> None:
    running = await server()
    sent, key = {"email": new_email(), "password": PASSWORD}, {"Idempotency-Key": "killed"}

    async def register():
        return await new_client(running.url).post(REGISTER, json=sent, headers=key)

    async def claimed() -> bool:
        async with new_session(read_only=True) as db:
            return (await db.exec(select(IdempotencyKey.status))).all() == [None]

    async with registering_is_slow():
        first = asyncio.create_task(register())
        await eventually(claimed)
        running.kill()
        assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], HTTPError)
    running.start_again()
    await running.ready()

    assert problem(await register()) == (409, "request_in_progress")
    async with new_session() as db:
        await db.exec(update(IdempotencyKey).values(lease_until=ago(seconds=1)))
        await db.commit()
    answer, again = await register(), await register()
    assert (answer.status_code, again.status_code) == (201, 201)
    assert again.content == answer.content
    async with new_session(read_only=True) as db:
        for model in (User, BackgroundTask, IdempotencyKey):
            assert (await db.exec(select(func.count()).select_from(model))).one() == 1


async def test_a_replayed_registration_tells_nothing_of_who_exists(
    server: Callable[..., Awaitable[Server]], new_client: NewClient, clean: None
) -> None:
    client = new_client((await server(REQUIRE_VERIFIED_EMAIL="true")).url)
    sent = {"email": new_email(), "password": PASSWORD}
    seen = []
    for key in ("new", "taken"):
        for _ in range(2):
            answer = await client.post(REGISTER, json=sent, headers={"Idempotency-Key": key})
            assert (answer.status_code, answer.json()) == (202, {"status": "verification_pending"})
            seen.append({k: v for k, v in answer.headers.items() if k not in ("x-request-id", "date", "ratelimit")})
    first, replayed, taken, taken_again = seen
    assert first == taken
    assert replayed == taken_again == {**first, "idempotency-replayed": "true"}
