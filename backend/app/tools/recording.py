"""What a migration does on PostgreSQL, found out without a database: it runs in Alembic's offline mode."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlmodel import SQLModel

import app.models  # noqa: F401 - registers the tables, whose metadata names constraints
from app.core.process import CannotRun
from app.tools import migrate
from app.tools.narrowing import narrows

Place = tuple[str, str]
"""A table and a column."""


@dataclass
class Recorded:
    """Statements in order, the types as the migrations write them, and the columns that got a type with more room."""

    statements: list[str] = field(default_factory=list)
    types: dict[Place, Any] = field(default_factory=dict)
    widened: set[Place] = field(default_factory=set)
    begun: int = 0
    """How many statements there were when the last migration began."""

    def write(self, text: str) -> None:
        """What Alembic writes: one statement."""
        if statement := text.strip().removesuffix(";").strip():
            self.statements.append(statement)

    def has_changed(self) -> bool:
        """Whether the transaction that is open has a statement."""
        *_, last = (self.begun, *(place for place, one in enumerate(self.statements, 1) if one in ("COMMIT", "BEGIN")))
        return len(self.statements) > max(last, self.begun)

    def flush(self) -> None:
        """Nothing is held back."""


def record(upgrades: Iterable[Callable[[], None]]) -> Recorded:
    """Run migrations in order.

    Raises:
        CannotRun: one reads from the database, or raised something.
        CommandError: one has a step that commits what came before it.
    """
    recorded = Recorded()
    options = {"as_sql": True, "literal_binds": True, "output_buffer": recorded, "transactional_ddl": True}
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={**options, "target_metadata": SQLModel.metadata}
    )
    _watch(context.impl, recorded)
    with Operations.context(context):
        for upgrade in upgrades:
            recorded.begun = len(recorded.statements)
            try:
                upgrade()
            except (CannotRun, CommandError):
                raise
            except AttributeError as error:
                raise CannotRun(
                    f"a migration reads from the database, which has no SQL ({error}): "
                    "let it read only where `not op.get_context().as_sql`"
                ) from error
            except Exception as error:
                where = migrate.raised_in(error) or "a migration failed"
                raise CannotRun(f"{where}: {type(error).__name__}: {error}") from error
    return recorded


def _watch(impl: Any, recorded: Recorded) -> None:
    """Note the types of columns on the way to the methods that write the SQL. `impl` is that of one run."""
    create, add, alter, types = impl.create_table, impl.add_column, impl.alter_column, recorded.types

    def create_table(table: sa.Table, **more: Any) -> None:
        types.update({(table.name, column.name): column.type for column in table.columns})
        create(table, **more)

    def add_column(table: str, column: sa.Column[Any], **more: Any) -> None:
        types[table, column.name] = column.type
        add(table, column, **more)

    def alter_column(table: str, column: str, **more: Any) -> None:
        old, new = more.get("existing_type"), more.get("type_")
        if new is not None:
            types[table, column] = new
            if old is not None and not narrows(old, new):
                recorded.widened.add((table, column))
        if (name := more.get("name")) and (table, column) in types:
            types[table, name] = types.pop((table, column))
        alter(table, column, **more)

    impl.create_table, impl.add_column, impl.alter_column = create_table, add_column, alter_column
