"""2xx means stored: a commit that fails is a 5xx, and nothing of the request is left. The fault is the database's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from httpx2 import AsyncClient
from sqlalchemy import text
from sqlmodel import col, func, select

from app.core.db import engine, new_session
from app.models import BackgroundTask, MailToken, User, UserSession
from tests.flows import PASSWORD, V1, Account, problem, signed_in

# A row that refers to nothing, checked only at COMMIT: every statement before it succeeds, on both engines.
TABLE = """CREATE TABLE planted (id INTEGER PRIMARY KEY,
           nowhere INTEGER NOT NULL REFERENCES planted (id) DEFERRABLE INITIALLY DEFERRED)"""
PLANT = {
    "sqlite": [
        TABLE,
        """CREATE TRIGGER planted_fault AFTER {event} ON {table}
           BEGIN INSERT INTO planted (id, nowhere) VALUES (1, 2); END""",
    ],
    "postgresql": [
        TABLE,
        """CREATE FUNCTION planted_fault() RETURNS trigger LANGUAGE plpgsql
           AS 'BEGIN INSERT INTO planted (id, nowhere) VALUES (1, 2); RETURN NULL; END'""",
        "CREATE TRIGGER planted_fault AFTER {event} ON {table} FOR EACH ROW EXECUTE FUNCTION planted_fault()",
    ],
}
REMOVE = {
    "sqlite": ["DROP TRIGGER planted_fault", "DROP TABLE planted"],
    "postgresql": ["DROP TRIGGER planted_fault ON {table}", "DROP FUNCTION planted_fault", "DROP TABLE planted"],
}


@asynccontextmanager
async def commits_fail(event: str, table: str) -> AsyncIterator[None]:
    """Every transaction with an `event` (INSERT, UPDATE, DELETE) on a row of `table` fails when it commits."""

    async def run(statements: list[str]) -> None:
        async with engine().begin() as connection:
            for statement in statements:
                await connection.execute(text(statement.format(event=event, table=table)))

    await run(PLANT[engine().dialect.name])
    try:
        yield
    finally:
        await run(REMOVE[engine().dialect.name])


async def stored() -> tuple[int, ...]:
    """How many users, sessions, tasks and mail tokens there are."""
    models = (User, UserSession, BackgroundTask, MailToken)
    async with new_session(read_only=True) as db:
        return tuple([(await db.exec(select(func.count(col(model.id))))).one() for model in models])


@pytest.mark.parametrize("table", ["users", "background_tasks"])
async def test_a_commit_that_fails_answers_5xx_and_stores_nothing(client: AsyncClient, table: str) -> None:
    account = Account(client)
    async with commits_fail("INSERT", table):
        for _ in range(12):  # more than the pool has connections: each is given back
            answer = await account.register()
            assert problem(answer) == (500, "internal_error")
            assert "planted" not in answer.text
            assert await stored() == (0, 0, 0, 0)
    assert (await account.register()).status_code == 201
    assert await stored() == (1, 0, 1, 1)


async def test_a_sign_in_whose_commit_fails_hands_out_no_token(client: AsyncClient) -> None:
    account = Account(client)
    await account.register()
    async with commits_fail("INSERT", "user_sessions"):
        answer = await account.login()
        assert problem(answer) == (500, "internal_error")
        assert not account.pair
        assert (await stored())[1] == 0
    assert (await account.login()).status_code == 200


async def test_a_refresh_whose_commit_fails_spends_nothing(account: Account) -> None:
    async with commits_fail("UPDATE", "user_sessions"):
        assert problem(await account.refresh()) == (500, "internal_error")
    assert (await account.refresh()).status_code == 200


async def test_a_profile_whose_commit_fails_stays_as_it_was(client: AsyncClient, account: Account) -> None:
    before = (await account.me()).json()
    async with commits_fail("UPDATE", "users"):
        answer = await client.put(f"{V1}/users/me", json={"full_name": "Ada"}, headers=account.bearer)
        assert problem(answer) == (500, "internal_error")
    assert (await account.me()).json() == before


async def test_a_deletion_whose_commit_fails_leaves_the_account_and_its_tokens(
    client: AsyncClient, account: Account
) -> None:
    async with commits_fail("DELETE", "users"):
        answer = await client.request("DELETE", f"{V1}/users/me", headers=account.bearer)
        assert problem(answer) == (500, "internal_error")
    assert (await account.me()).status_code == 200
    again = Account(client, account.email, PASSWORD)
    assert (await again.login()).status_code == 200


@pytest.mark.stack(name="embedded")
async def test_a_connection_that_is_given_up_in_the_middle_lets_go_of_the_file(client: AsyncClient) -> None:
    """As that of a request that is cancelled between a statement and its rows, while somebody still holds these."""
    account = await signed_in(client)
    async with engine().connect() as connection:
        await connection.execute(text("SELECT 1"))
        driver: Any = (await connection.get_raw_connection()).driver_connection
        held = await driver.execute("UPDATE users SET full_name = 'x' RETURNING id")
        await connection.invalidate()
    assert (await account.logout()).status_code == 204
    assert held, "somebody holds it until here"
