"""`neoforge db lint`: what a migration would do to a PostgreSQL that is in use. It needs no database."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.tools import migrate
from tests.checkouts import Checkout
from tests.unit.test_cli import assert_one_line

pytestmark = [pytest.mark.any_database, pytest.mark.any_server]
FIRST = int(migrate.head()) + 1


@dataclass(frozen=True)
class Case:
    upgrade: str
    rules: tuple[str, ...] = ()
    said: str = "a migration"


NEW = 'op.create_table("orders", sa.Column("id", sa.Uuid(), primary_key=True), sa.Column("n", sa.Integer()))\n'
ACCEPTED = "a migration\n\nLint: index-without-concurrently - the table has ten rows\n"
CASES = {
    "index": Case('op.create_index("ix", "users", ["locale"])', ("index-without-concurrently",)),
    "index_by_hand": Case(
        'op.execute("create unique index ix on public.users (locale)")', ("index-without-concurrently",)
    ),
    "index_of_a_new_table": Case(NEW + 'op.create_index("ix", "orders", ["n"])'),
    "index_concurrently": Case('online.create_index("ix", "users", ["locale"])'),
    "index_dropped": Case('online.drop_index("ix_users_staff", "users")'),
    "index_accepted": Case('op.create_index("ix", "users", ["locale"])', said=ACCEPTED),
    "accepted_without_a_reason": Case(
        'op.create_index("ix", "users", ["locale"])',
        ("lint-without-reason",),
        "a migration\n\nLint: index-without-concurrently\n",
    ),
    "accepted_without_a_cause": Case("pass", ("lint-without-cause",), ACCEPTED),
    "not_null": Case(
        'op.add_column("users", sa.Column("x", sa.Integer(), nullable=False))', ("not-null-without-default",)
    ),
    "not_null_with_a_default": Case(
        'op.add_column("users", sa.Column("x", sa.Integer(), nullable=False, server_default="1"))'
    ),
    "a_default_of_each_row": Case(
        'op.add_column("users", sa.Column("x", sa.Uuid(), server_default=sa.text("gen_random_uuid()")))',
        ("table-rewrite",),
    ),
    "set_not_null": Case('op.alter_column("users", "full_name", nullable=False)', ("set-not-null",)),
    "type": Case(
        'op.alter_column("users", "locale", type_=sa.Integer(), existing_type=sa.String(8))',
        ("table-rewrite", "destructive"),
    ),
    "type_by_hand": Case(
        'op.execute("ALTER TABLE users ALTER locale SET DATA TYPE text")', ("table-rewrite", "destructive")
    ),
    "wider_type": Case(
        'op.alter_column("users", "locale", type_=sa.String(9), existing_type=sa.String(8))', ("table-rewrite",)
    ),
    "long_transaction": Case(
        'op.add_column("users", sa.Column("x", sa.Integer()))\nop.execute("UPDATE users SET x = 1")',
        ("long-transaction",),
    ),
    "rows_of_a_new_table": Case(NEW + 'op.execute("INSERT INTO orders (n) VALUES (1)")'),
    "two_transactions": Case(
        'op.add_column("users", sa.Column("x", sa.Integer()))\n'
        'with op.get_context().autocommit_block():\n    op.execute("UPDATE users SET x = 1")'
    ),
    "dropped_table": Case('op.drop_table("exports")', ("destructive",)),
    "dropped_column": Case('op.drop_column("users", "locale")', ("destructive",)),
    "dropped_with_a_way_back": Case(
        'op.drop_column("users", "locale")', said="a migration\n\nRollback: every mail is in English until set again\n"
    ),
    "all_rows": Case('op.execute("DELETE FROM exports")', ("destructive",)),
    "check": Case('op.create_check_constraint("short", "users", "locale <> \'\'")', ("constraint-not-valid",)),
    "check_not_valid": Case(
        'op.create_check_constraint("short", "users", "locale <> \'\'", postgresql_not_valid=True)'
    ),
    "foreign_key": Case(
        'op.create_foreign_key("fk", "exports", "background_tasks", ["task_id"], ["id"])', ("constraint-not-valid",)
    ),
    "unique": Case('op.create_unique_constraint("uq", "users", ["full_name"])', ("constraint-not-valid",)),
    "renamed": Case('op.alter_column("users", "locale", new_column_name="language")', ("renaming-column",)),  # squawk's
}
LOST, REWRITTEN, CHECKED = "destructive", "table-rewrite", "constraint-not-valid"
BY_HAND = {
    "/* tidy */ DROP TABLE leases": LOST,
    "/* a /* b */ c */ DROP TABLE leases": LOST,
    "-- tidy\nDROP TABLE leases": LOST,
    "/* x */ ALTER /* y */ TABLE users DROP full_name": LOST,
    "ALTER TABLE users ADD z int, DROP full_name": LOST,
    "SELECT ';'; DROP TABLE leases": LOST,
    "DROP TABLE leases; CREATE TABLE leases (id int)": LOST,
    "DROP TRIGGER t ON users": LOST,
    "DELETE FROM users u": LOST,
    "DELETE FROM users WHERE true": LOST,
    "WITH x AS (DELETE FROM users RETURNING 1) SELECT 1 WHERE 1 = 2": LOST,
    "UPDATE users AS u SET locale = 'x', full_name = NULL": LOST,
    "CREATE INDEX ON users (full_name)": "index-without-concurrently",
    "REINDEX TABLE users": "index-without-concurrently",
    "ALTER TABLE users ADD z int REFERENCES users(id)": CHECKED,
    "ALTER TABLE users ADD z int UNIQUE": CHECKED,
    "ALTER TABLE users ADD COLUMN z int CHECK (z>0)": CHECKED,
    "VACUUM FULL users": REWRITTEN,
    "VACUUM (ANALYZE, FULL) users": REWRITTEN,
    "CLUSTER users USING pk_users": REWRITTEN,
    "ALTER TABLE users SET UNLOGGED": REWRITTEN,
    "LOCK TABLE users; UPDATE users SET locale = 'x' WHERE locale = 'y'": "long-transaction",
    "DO $$ BEGIN DROP TABLE leases; END $$": "unseen",
}
HARMLESS = (
    "SELECT 'DROP TABLE users; --'",
    "COMMENT ON TABLE users IS $a$ ; DROP TABLE users $a$",
    "DELETE FROM users u WHERE u.full_name = 'x'",
    "UPDATE users SET full_name = NULL WHERE locale = 'x'",
    "ALTER TABLE users ADD z numeric(12, 2) DEFAULT 0",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    made = Checkout(tmp_path_factory.mktemp("linted"), "sqlite:////nowhere/app.db")
    for number, case in enumerate(CASES.values(), FIRST):
        made.migration(number, case.upgrade, case.said)
    return made


@pytest.fixture(scope="module")
def found(tree: Checkout) -> dict[str, list[str]]:
    """The rules that each broke, by its file."""
    done = tree.neoforge("db", "lint", "--squawk", "--since", migrate.head())
    assert done.returncode == 1, done.stderr
    assert f"{len(CASES)} looked at by our rules and squawk's" in done.stderr
    broken: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        file, rule, _ = line.split(": ", 2)
        broken.setdefault(file, []).append(rule)
    return broken


@pytest.mark.parametrize("name", CASES)
def test_a_rule_is_broken_or_it_is_not(found: dict[str, list[str]], name: str) -> None:
    number = FIRST + list(CASES).index(name)
    assert tuple(found.get(f"20261128_{number:04}_by_hand.py", ())) == CASES[name].rules


def test_our_own_migrations_are_clean(tree: Checkout) -> None:
    own = [f"{number:04}" for number in range(1, FIRST)]
    done = tree.neoforge("db", "lint", "--squawk", *own)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_without_squawk_our_own_rules_hold_and_it_is_told(tree: Checkout) -> None:
    """As in production: a Python whose programs have no squawk among them."""
    packages = Path(pytest.__file__).parents[1]
    bare = {**os.environ, "PYTHONPATH": f"{tree.backend}:{packages}", "PATH": "/nowhere"}
    lint = (str(Path(sys.base_prefix) / "bin" / "python3"), "-m", "app.cli", "db", "lint")
    number = f"{FIRST + list(CASES).index('index'):04}"
    done = tree.run(*lint, number, env=bare)
    assert done.returncode == 1, done.stderr
    assert "index-without-concurrently" in done.stdout
    assert "squawk is not installed" in done.stderr
    refused = tree.run(*lint, "--squawk", f"{FIRST - 1:04}", env=bare)
    assert refused.returncode == 1
    assert "squawk is not installed" in refused.stderr


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is told of statements that somebody wrote, each in a migration."""
    made = Checkout(tmp_path_factory.mktemp("by_hand"), "sqlite:////nowhere/app.db")
    for number, statement in enumerate((*BY_HAND, *HARMLESS), FIRST):
        made.migration(number, f"op.execute({statement!r})")
    return made.neoforge("db", "lint", "--since", migrate.head()).stdout


@pytest.mark.parametrize("statement", BY_HAND)
def test_a_statement_is_seen_however_it_is_written(by_hand: str, statement: str) -> None:
    assert f"_{FIRST + list(BY_HAND).index(statement):04}_by_hand.py: {BY_HAND[statement]}: " in by_hand


@pytest.mark.parametrize("statement", HARMLESS)
def test_a_text_is_no_statement(by_hand: str, statement: str) -> None:
    number = FIRST + len(BY_HAND) + HARMLESS.index(statement)
    assert not [line for line in by_hand.splitlines() if f"_{number:04}_" in line]


@pytest.mark.parametrize("words", ["later", "x", "a backup has it"])
def test_a_way_back_is_a_sentence(tmp_path: Path, words: str) -> None:
    tree = Checkout(tmp_path / "project", "sqlite:////nowhere/app.db")
    tree.migration(FIRST, 'op.drop_column("users", "locale")', f"a migration\n\nRollback: {words}\n")
    refused = tree.neoforge("db", "lint", f"{FIRST:04}")
    assert refused.returncode == 1
    assert "5 words" in refused.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [(["nowhere"], 1, "nowhere"), (["--since", "nowhere"], 1, "nowhere"), (["0001", "--since", "0002"], 2, "--since")],
)
def test_wrong_revisions_are_told(tree: Checkout, arguments: list[str], code: int, words: str) -> None:
    refused = tree.neoforge("db", "lint", *arguments)
    assert refused.returncode == code
    assert words in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("before", ["", 'op.execute("SET x.y = 1")\n', 'online.drop_index("ix", "users")\n'])
def test_a_step_that_commits_stands_first(tmp_path: Path, before: str) -> None:
    tree = Checkout(tmp_path / "project", "sqlite:////nowhere/app.db")
    tree.migration(FIRST, f'{before}online.backfill("users", "locale = 1", where="locale = 2")')
    tree.migration(FIRST + 1, 'online.create_index("ix", "users", ["locale"])')
    done = tree.neoforge("db", "lint", f"{FIRST:04}", f"{FIRST + 1:04}")
    if before.startswith("op"):
        assert_one_line(done, 1, "a revision of its own")
    else:
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_migration_that_reads_cannot_be_written_as_sql(tmp_path: Path) -> None:
    tree = Checkout(tmp_path / "project", "sqlite:////nowhere/app.db")
    tree.migration(FIRST, 'op.get_bind().execute(sa.text("SELECT 1")).scalar()')
    refused = tree.neoforge("db", "lint", f"{FIRST:04}")
    assert refused.returncode == 1
    assert "op.get_context().as_sql" in refused.stderr
