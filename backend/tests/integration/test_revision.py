"""`neoforge db revision` and `db check`: somebody adds a table of their own, by hand and by command alone."""

import asyncio
import os
import re
import secrets
import sys
from pathlib import Path

import pytest

from app.tools import migrate
from tests.checkouts import Checkout
from tests.databases import empty_database
from tests.schema import look
from tests.services import Services, execute
from tests.unit.test_cli import assert_one_line
from tests.waiting import eventually

ORDERS = """
from datetime import datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

from sqlalchemy import Index, text
from sqlmodel import Field

from app.core.sql import UTCDateTime
from app.models.base import JSON_TYPE, Table

OPEN = text("paid_at IS NULL")


class OrderState(Enum):
    open = "open"
    paid = "paid"


class Order(Table, table=True):
    __tablename__ = "orders"
    __table_args__ = (Index("ix_orders_open", "user_id", sqlite_where=OPEN, postgresql_where=OPEN),)

    user_id: UUID = Field(foreign_key="users.id", ondelete="CASCADE", index=True)
    number: str = Field(max_length=32, unique=True)
    note: str | None = None
    state: OrderState = OrderState.open
    total: Decimal = Field(max_digits=12, decimal_places=2)
    lines: list[dict] = Field(default_factory=list, sa_type=JSON_TYPE, nullable=False)
    paid_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    seen_at: datetime | None = None
"""
NUMBER = int(migrate.head()) + 1


@pytest.fixture
def tree(services: Services, tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "project", empty_database(services, f"revision-{secrets.token_hex(4)}"))


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A project with orders and their migration."""
    made = Checkout(tmp_path_factory.mktemp("ordered"), f"sqlite:///{tmp_path_factory.mktemp('database')}/app.db")
    made.model("order", ORDERS)
    done = made.neoforge("db", "revision", "-m", "orders")
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def shop(ordered: Checkout, services: Services, tmp_path: Path) -> Checkout:
    url = empty_database(services, f"shop-{secrets.token_hex(4)}")
    return Checkout(tmp_path / "project", url, source=ordered.backend)


def in_form(tree: Checkout) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    for verb in (["check"], ["format", "--check"]):
        done = tree.run(str(ruff), *verb, "--no-cache", "alembic")
        assert done.returncode == 0, done.stdout


def up_down_up(tree: Checkout) -> None:
    for arguments in (["upgrade"], ["downgrade"], ["upgrade"], ["check"]):
        done = tree.neoforge("db", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_of_a_model_is_enough_for_its_table(tree: Checkout) -> None:
    before = tree.migrations()
    tree.model("order", ORDERS)
    done = tree.neoforge("db", "revision", "-m", "Orders of a shop")
    assert done.returncode == 0, done.stderr
    (made,) = tree.migrations() - before
    assert re.fullmatch(rf"20\d{{6}}_{NUMBER:04}_orders_of_a_shop\.py", made)
    assert done.stdout.strip() == f"wrote {tree.versions / made}"
    assert done.stderr == ""  # the lint has nothing to say of a new table
    in_form(tree)
    up_down_up(tree)


def test_what_is_added_to_a_table_runs_on_both_engines(shop: Checkout) -> None:
    fields = (
        '    kind: Kind | None = None\n    place: str = Field(default="", sa_column_kwargs={"server_default": ""})\n'
    )
    kind = 'class Kind(Enum):\n    gift = "it\'s a gift"\n\n\nclass Order('
    wider = ORDERS.replace("max_length=32", "max_length=64").replace("class Order(", kind) + fields
    shop.model("order", wider)
    done = shop.neoforge("db", "revision", "-m", "kinds")
    assert done.returncode == 0, done.stderr
    assert "destructive" not in done.stderr  # there is more room than before
    in_form(shop)
    up_down_up(shop)


def test_nothing_new_is_refused_unless_it_was_asked_for(tree: Checkout) -> None:
    before = tree.migrations()
    refused = tree.neoforge("db", "revision", "-m", "nothing")
    assert refused.returncode == 1
    assert "--empty" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert tree.migrations() == before
    assert tree.neoforge("db", "revision", "-m", "nothing", "--empty").returncode == 0
    assert len(tree.migrations() - before) == 1
    in_form(tree)


def test_a_default_with_a_colon_stays_what_it_is(tree: Checkout) -> None:
    said = "it's 100% :x at 10:30"
    place = f'    place: str = Field(default="", max_length=40, sa_column_kwargs={{"server_default": "{said}"}})\n'
    for number, field in enumerate((place, place.replace("40", "50"))):
        tree.model("order", ORDERS + field)
        done = tree.neoforge("db", "revision", "-m", f"places {number}")
        assert done.returncode == 0, done.stderr
    in_form(tree)
    up_down_up(tree)
    made = asyncio.run(look(tree.url, lambda inspector: inspector.get_columns("orders")))
    (default,) = [column["default"] for column in made if column["name"] == "place"]
    assert "'it''s 100% :x at 10:30'" in default


def test_more_values_of_an_enumeration_are_for_a_hand(shop: Checkout) -> None:
    before = shop.migrations()
    shop.model("order", ORDERS.replace('    paid = "paid"', '    paid = "paid"\n    returned = "returned"'))
    refused = shop.neoforge("db", "revision", "-m", "returned", "--destructive")
    assert_one_line(refused, 1, "orders.state", "new: returned", "ALTER TYPE orderstate ADD VALUE")
    assert shop.migrations() == before


def test_a_migration_that_raises_is_told_in_one_line(tree: Checkout) -> None:
    file = tree.migration(NUMBER, 'raise ValueError("no such\\nplan")')
    for command in ("upgrade", "lint"):
        refused = tree.neoforge("db", command)
        assert_one_line(refused, 1, f"migration {NUMBER:04} failed at {file.name}:14", "ValueError: no such plan")
    assert tree.neoforge("db", "current").stdout.startswith(f"{NUMBER - 1:04} ")


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        (ORDERS, "", "the table orders"),
        ("    note: str | None = None\n", "", "the column orders.note"),
        ("max_length=32", "max_length=31", "orders.number goes from VARCHAR(32) to VARCHAR(31)"),
        ("max_digits=12", "max_digits=11", "orders.total goes from"),
        (
            "number: str = Field(max_length=32, ",
            "number: int = Field(",
            "orders.number goes from VARCHAR(32) to INT",
        ),
    ],
)
def test_what_destroys_is_refused_unless_it_was_asked_for(shop: Checkout, was: str, becomes: str, told: str) -> None:
    before = shop.migrations()
    shop.model("order", ORDERS.replace(was, becomes))
    refused = shop.neoforge("db", "revision", "-m", "less")
    assert refused.returncode == 1
    assert told in refused.stderr
    assert "--destructive" in refused.stderr
    assert shop.migrations() == before
    done = shop.neoforge("db", "revision", "-m", "less", "--destructive")
    assert done.returncode == 0, done.stderr
    (made,) = shop.migrations() - before
    assert "\nRollback: (say " in (shop.versions / made).read_text()
    assert f"{made}: destructive: " in done.stderr
    in_form(shop)
    up_down_up(shop)


def test_the_paragraph_of_a_destructive_one_has_to_be_filled(shop: Checkout) -> None:
    before = shop.migrations()
    shop.model("order", "")
    assert shop.neoforge("db", "revision", "-m", "less", "--destructive").returncode == 0
    (made,) = shop.migrations() - before
    file, number = shop.versions / made, f"{NUMBER + 1:04}"
    unfilled = shop.neoforge("db", "lint", number)
    assert unfilled.returncode == 1
    assert "Rollback:" in unfilled.stdout
    text = file.read_text()
    for said, code in (("Rollback:\n", 1), ("Rollback: the backup of the day before has the orders\n", 0)):
        file.write_text(re.sub(r"Rollback: .*\n", said, text))
        assert shop.neoforge("db", "lint", number).returncode == code


@pytest.mark.parametrize("words", ["", "x" * 101, 'say """', "back\\slash", "two\nlines"])
def test_words_that_would_break_the_file_are_refused(tree: Checkout, words: str) -> None:
    before = tree.migrations()
    refused = tree.neoforge("db", "revision", "-m", words)
    assert refused.returncode == 1
    assert "-m" in refused.stderr
    assert tree.migrations() == before


def test_the_configured_database_has_to_be_at_the_newest_revision(shop: Checkout) -> None:
    refused = shop.neoforge("db", "revision", "-m", "more", "--configured")
    assert refused.returncode == 1
    assert "not up to date" in refused.stderr
    assert shop.neoforge("db", "upgrade").returncode == 0
    shop.model("order", ORDERS + "    more: int | None = None\n")
    assert shop.neoforge("db", "revision", "-m", "more", "--configured").returncode == 0
    in_form(shop)
    up_down_up(shop)


def test_each_difference_is_told_plainly(shop: Checkout, services: Services) -> None:
    changed = ORDERS.replace("note: str | None", "note: str").replace("max_length=32", "max_length=33")
    shop.model("order", changed.replace("    seen_at: datetime", "    more: datetime"))
    shop.model(
        "extra",
        'from app.models.base import Table\n\n\nclass Extra(Table, table=True):\n    __tablename__ = "extras"\n',
    )
    done = shop.neoforge("db", "check")
    assert done.returncode == 1
    expected = [
        "the table extras is in the models alone",
        "the column orders.more is in the models alone",
        "the column orders.seen_at is in the migrations alone",
        "nullable of orders.note is NULL in the migrations and NOT NULL in the models",
        "type of orders.number is VARCHAR(32) in the migrations and VARCHAR(33) in the models",
    ]
    assert "not looked at: CHECK constraints, server defaults" in done.stdout
    engines = ["SQLite", "PostgreSQL"] if services.stack == "server" else ["SQLite"]
    found = [line for line in done.stdout.splitlines() if "not looked at" not in line]
    assert sorted(found) == sorted(f"{engine}: {one}" for engine in engines for one in expected)


@pytest.mark.stack(name="server")
async def test_a_check_leaves_nothing_on_the_server(shop: Checkout, services: Services) -> None:
    done = shop.neoforge("db", "check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "PostgreSQL: the models are what the migrations make"
    left = "SELECT 1 FROM pg_database WHERE datname LIKE 'neoforge\\_check\\_%'"
    await eventually(lambda: not execute(services.postgres_url, left))  # those of others come and go


def test_an_index_that_could_not_be_made_is_made_by_the_next_run(tree: Checkout) -> None:
    """PostgreSQL leaves what is not valid behind, which is in the way of a second try."""
    tree.migration(NUMBER, 'online.create_index("uq_mark", "mail_budgets", ["updated_at"], unique=True)')
    assert tree.neoforge("db", "upgrade", f"{NUMBER - 1:04}").returncode == 0
    moment = "'2026-11-28 12:00:00.000000'"
    two = (
        f"INSERT INTO mail_budgets (address, promised, updated_at) VALUES ('a', '[]', {moment}), ('b', '[]', {moment});"
    )
    assert tree.neoforge("db", "shell", stdin=two).returncode == 0
    assert tree.neoforge("db", "upgrade").returncode != 0
    assert tree.neoforge("db", "shell", stdin="DELETE FROM mail_budgets WHERE address = 'b';").returncode == 0
    done = tree.neoforge("db", "upgrade")
    assert done.returncode == 0, done.stderr
    again = tree.neoforge("db", "shell", stdin=two)
    assert "UNIQUE" in again.stderr.upper()  # it holds


@pytest.mark.stack(name="server")
async def test_processes_that_wait_do_not_keep_an_index_from_being_made(tree: Checkout) -> None:
    tree.migration(NUMBER, 'online.create_index("ix_mark", "users", ["locale"])')
    command = (sys.executable, "-m", "app.cli", "db", "upgrade")
    environment = {**os.environ, "DATABASE_URL": tree.url, "PYTHONPATH": str(tree.backend)}
    started = [
        await asyncio.create_subprocess_exec(
            *command, env=environment, cwd=tree.backend, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(3)
    ]
    ended = [await asyncio.wait_for(process.communicate(), 120) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], ended
    assert tree.neoforge("db", "current").stdout == f"{NUMBER:04} (newest: {NUMBER:04})\n"
