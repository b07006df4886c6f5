"""The migrations on the engine of this stack: up, down, up again, and the same schema as the models say."""

import asyncio
import os
import sys
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlmodel import SQLModel

import app.models  # noqa: F401 - registers every table
from app.core.db import build_engine
from app.services import health
from app.tools import migrate
from tests.databases import empty_database
from tests.schema import look, run, shape
from tests.services import BACKEND, Services

REVISIONS = [
    script.revision for script in reversed(list(ScriptDirectory.from_config(migrate.config()).walk_revisions()))
]


@pytest.fixture
def url(services: Services, request: pytest.FixtureRequest) -> str:
    """A database with nothing in it."""
    worker = getattr(request.config, "workerinput", {"workerid": "main"})["workerid"]
    return empty_database(services, f"migrations-{worker}")


def named(inspector: sa.Inspector) -> set[str | None]:
    """The names of all constraints and indexes of our tables."""
    names: set[str | None] = set()
    for table in set(inspector.get_table_names()) - {"alembic_version"}:
        # SQLite's AUTOINCREMENT stands on the column itself, where a key has no name.
        names.add(inspector.get_pk_constraint(table)["name"] or f"pk_{table}")
        for found in (
            inspector.get_indexes(table),
            inspector.get_unique_constraints(table),
            inspector.get_foreign_keys(table),
            inspector.get_check_constraints(table),
        ):
            names |= {one["name"] for one in found}
    return names


def test_there_is_one_line_of_revisions() -> None:
    script = ScriptDirectory.from_config(migrate.config())
    assert len(script.get_heads()) == len(script.get_bases()) == 1
    assert migrate.head() == REVISIONS[-1]
    assert migrate.known() == set(REVISIONS)


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_revision_goes_up_and_down_and_up_again(url: str, revision: str) -> None:
    before = REVISIONS[REVISIONS.index(revision) - 1] if revision != REVISIONS[0] else "base"
    if before != "base":
        migrate.upgrade(url, before)
    earlier = await look(url, shape)
    migrate.upgrade(url, revision)
    there = await look(url, shape)
    assert there != earlier
    migrate.downgrade(url, before)
    back = await look(url, shape)
    assert {name: table for name, table in back.items() if name != "alembic_version"} == {
        name: table for name, table in earlier.items() if name != "alembic_version"
    }
    migrate.upgrade(url, revision)
    assert await look(url, shape) == there


async def test_every_index_is_argued_in_the_revision_that_adds_it(url: str) -> None:
    def indexes(inspector: sa.Inspector) -> set[str]:
        tables = inspector.get_table_names()
        found = [one for table in tables for one in inspector.get_indexes(table)]
        found += [one for table in tables for one in inspector.get_unique_constraints(table)]
        return {str(one["name"]) for one in found}

    scripts, before = ScriptDirectory.from_config(migrate.config()), set[str]()
    for revision in REVISIONS:
        migrate.upgrade(url, revision)
        after = await look(url, indexes)
        said = scripts.get_revision(revision).doc + scripts.get_revision(revision).longdoc
        assert {name for name in after - before if name not in said} == set(), revision
        before = after


async def test_the_models_are_what_the_migrations_make(url: str) -> None:
    migrate.upgrade(url)
    migrate.check(url)


async def test_a_difference_from_the_models_is_found(url: str) -> None:
    migrate.upgrade(url)
    await run(url, "ALTER TABLE users ADD COLUMN planted INTEGER")
    with pytest.raises(CommandError):
        migrate.check(url)


async def test_nothing_of_ours_is_left_below_the_first_revision(url: str) -> None:
    migrate.upgrade(url)
    migrate.downgrade(url, "base")

    def left(inspector: sa.Inspector) -> tuple[list[str], list[str], list[str]]:
        types = [e["name"] for e in inspector.get_enums()] if hasattr(inspector, "get_enums") else []
        sequences = inspector.get_sequence_names() if inspector.dialect.supports_sequences else []
        return inspector.get_table_names(), sequences, types

    assert await look(url, left) == (["alembic_version"], [], [])


async def test_a_new_installation_has_no_account(url: str) -> None:
    migrate.upgrade(url)
    engine = build_engine(url, pool_size=1)
    try:
        async with engine.connect() as connection:
            assert (await connection.execute(sa.text("SELECT count(*) FROM users"))).scalar_one() == 0
    finally:
        await engine.dispose()


async def test_every_constraint_has_the_name_that_the_convention_gives(url: str) -> None:
    migrate.upgrade(url)
    expected: set[Any] = set()
    for table in SQLModel.metadata.tables.values():
        expected |= {index.name for index in table.indexes}
        expected |= {constraint.name for constraint in table.constraints}
    found = await look(url, named)
    assert None not in found
    assert {str(name) for name in found} == {str(name) for name in expected}
    assert all(str(name).startswith(("pk_", "fk_", "uq_", "ck_", "ix_")) for name in found)


async def test_every_reference_can_be_followed_backwards_by_an_index(url: str) -> None:
    """Else deleting a user would read the whole of each table that refers to users."""
    migrate.upgrade(url)

    def unindexed(inspector: sa.Inspector) -> list[str]:
        missing = []
        for table in inspector.get_table_names():
            first = {index["column_names"][0] for index in inspector.get_indexes(table)}
            first |= {unique["column_names"][0] for unique in inspector.get_unique_constraints(table)}
            first |= set(inspector.get_pk_constraint(table)["constrained_columns"][:1])
            referring = {key["constrained_columns"][0] for key in inspector.get_foreign_keys(table)}
            missing += [f"{table}.{column}" for column in referring - first]
        return missing

    assert await look(url, unindexed) == []


async def test_several_processes_may_migrate_at_once(url: str) -> None:
    command = (sys.executable, "-m", "app.cli", "db", "upgrade")
    env = {**os.environ, "DATABASE_URL": url}
    started = [await asyncio.create_subprocess_exec(*command, env=env, cwd=BACKEND) for _ in range(3)]
    assert [await process.wait() for process in started] == [0, 0, 0]
    migrate.check(url)


def test_readiness_knows_the_revisions_that_alembic_knows() -> None:
    scripts = ScriptDirectory.from_config(migrate.config())
    known = frozenset(script.revision for script in scripts.walk_revisions())
    assert health._revisions() == (scripts.get_current_head(), known)
