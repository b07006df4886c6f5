"""A rehearsal with data in every table: what a downgrade keeps, what it loses, and that nothing else is lost."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from app.tools import migrate
from tests import rows
from tests.databases import own_database
from tests.schema import connected, look, shape
from tests.services import Services

Row = dict[str, Any]
EARLIER = [script.revision for script in list(ScriptDirectory.from_config(migrate.config()).walk_revisions())[1:]]
ROWS = 24
GOES: dict[str, set[str]] = {
    "0006": {"config_revisions"},
    "0005": set(),
    "0004": {
        "background_tasks.cancel_requested", "background_tasks.dedupe_key", "background_tasks.revision",
        "paused_queues", "task_schedules",
    },
    "0003": {"installation.signing_retired"},
    "0002": set(),
    "0001": {
        "audit_events", "audit_origins", "audit_seals", "audit_unsealed", "export_chunks", "exports",
        "idempotency_keys", "installation.secret_check", "installation.signing_number", "installation.signing_since",
        "known_devices", "leases", "mail_budgets", "mail_tokens.full_name", "mail_tokens.hashed_password",
        "users.locale",
    },
    "base": {
        "background_tasks", "changes", "heartbeats", "installation", "mail_tokens", "user_sessions", "users",
    },
}  # fmt: skip
"""Tables and columns that a downgrade to a revision takes away, with all that is in them."""


def later_undo_links(database: "Database") -> Counter[Any]:
    """Of several links of an account that bring an old address back, the first one stays."""
    undo = [row for row in database["mail_tokens"] if row["purpose"] == "undo"]
    first = {row["user_id"]: min(one["id"] for one in undo if one["user_id"] == row["user_id"]) for row in undo}
    return Counter(row["id"] for row in undo if row["id"] != first[row["user_id"]])


def links_but_first_ones(database: "Database") -> Counter[Any]:
    return Counter(row["id"] for row in database["mail_tokens"] if row["purpose"] != "verify")


LOSES: dict[str, Callable[["Database"], Counter[Any]]] = {"0002": later_undo_links, "0001": links_but_first_ones}
"""The mailed links that a downgrade deletes, in a table that stays."""
Database = dict[str, list[Row]]


async def database_at(url: str) -> Database:
    """Every row of every table, as the driver gives it."""
    async with connected(url) as connection:
        columns = await connection.run_sync(_columns)
        return {
            table: [
                dict(zip(names, row, strict=True))
                for row in await connection.exec_driver_sql(f"SELECT {', '.join(names)} FROM {table}")
            ]
            for table, names in columns.items()
        }


def _columns(connection: sa.Connection) -> dict[str, list[str]]:
    inspector = sa.inspect(connection)
    tables = set(inspector.get_table_names()) - {"alembic_version"}
    return {table: [column["name"] for column in inspector.get_columns(table)] for table in tables}


def gone(before: Database, after: Database) -> set[str]:
    """The tables, and the columns of those that stay."""
    found = before.keys() - after.keys()
    for table in before.keys() & after.keys():
        if before[table]:
            found |= {f"{table}.{column}" for column in before[table][0].keys() - after[table][0].keys()}
    return found


def held_by_both(database: Database, other: Database, lost: Counter[Any]) -> dict[str, Counter[str]]:
    """The rows of the tables and columns that the other has too, without those that are said to be lost."""
    found = {}
    for table in database.keys() & other.keys():
        columns = sorted(database[table][0].keys() & other[table][0].keys())
        stay = [row for row in database[table] if table != "mail_tokens" or row["id"] not in lost]
        found[table] = Counter(repr([row[column] for column in columns]) for row in stay)
    return found


@pytest.fixture
async def filled(services: Services) -> str:
    """A database at the newest revision with rows in every table."""
    url = own_database(services, "rehearsal")
    async with connected(url) as connection:
        await connection.run_sync(lambda sync: rows.insert(sync, rows.make(ROWS)))
    return url


async def test_every_table_is_filled(filled: str) -> None:
    database = await database_at(filled)
    few = {table: len(found) for table, found in database.items() if len(found) != ROWS}
    assert few == {"installation": 1}
    assert later_undo_links(database)


@pytest.mark.parametrize("revision", [*EARLIER, "base"])
async def test_what_both_schemas_hold_outlives_a_downgrade_and_coming_back(filled: str, revision: str) -> None:
    newest, schema = await database_at(filled), await look(filled, shape)
    migrate.downgrade(filled, revision)
    older = await database_at(filled)
    below = [*EARLIER, "base"][: [*EARLIER, "base"].index(revision) + 1]
    taken = {part for one in below for part in GOES[one]}
    assert gone(newest, older) == {part for part in taken if part.partition(".")[0] not in taken - {part}}
    lost = LOSES["0001" if "0001" in below else "0002"](newest) if "0002" in below else Counter()
    assert held_by_both(newest, older, lost) == held_by_both(older, newest, Counter())
    migrate.upgrade(filled)
    again = await database_at(filled)
    assert await look(filled, shape) == schema
    assert again.keys() == newest.keys()
    assert held_by_both(again, older, Counter()) == held_by_both(older, again, Counter())
