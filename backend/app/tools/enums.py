"""Types of enumerations in a new migration: PostgreSQL has to be told to make and to drop them; SQLite has none."""

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy.dialects import postgresql
from sqlmodel import SQLModel

_Column = tuple[str, sa.Column[Any]]
"""A column and the name of its table."""


class OnPostgreSQL(ops.MigrateOperation):
    """A statement for PostgreSQL alone."""

    def __init__(self, statement: str) -> None:
        self.statement = statement


@renderers.dispatch_for(OnPostgreSQL)
def _render(_: AutogenContext, op: OnPostgreSQL) -> list[str]:
    return ['if op.get_context().dialect.name == "postgresql":', f"op.execute({op.statement!r})", ""]


def complete(up: ops.UpgradeOps, down: ops.DowngradeOps) -> None:
    """Make a type before a column of it is added (a new table makes its own); drop it when its last column has gone."""
    created, added = _enums(_created(up)), _enums(_added(up))
    new = {(table, column.name) for table, column in (*_created(up), *_added(up))}
    old = _enums(
        (table.name, column)
        for table in SQLModel.metadata.tables.values()
        for column in table.columns
        if (table.name, column.name) not in new
    )
    quoted = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call] # SQLAlchemy has none
    for name, kind in added.items():
        if name not in old and name not in created:
            values = ", ".join("'" + value.replace("'", "''") + "'" for value in kind.enums)
            up.ops.insert(0, OnPostgreSQL(f"CREATE TYPE {quoted(name)} AS ENUM ({values})"))
    for name in sorted((created.keys() | added.keys()) - old.keys()):
        down.ops.append(OnPostgreSQL(f"DROP TYPE {quoted(name)}"))


def _enums(columns: Iterable[_Column]) -> dict[str, sa.Enum]:
    """The types that PostgreSQL keeps for these columns, by name."""
    kinds = (column.type for _, column in columns)
    return {kind.name: kind for kind in kinds if isinstance(kind, sa.Enum) and kind.native_enum and kind.name}


def _created(up: ops.OpContainer) -> Iterator[_Column]:
    for op in up.ops:
        if isinstance(op, ops.CreateTableOp):
            yield from ((op.table_name, column) for column in op.columns if isinstance(column, sa.Column))


def _added(up: ops.OpContainer) -> Iterator[_Column]:
    for op in up.ops:
        if isinstance(op, ops.OpContainer):
            yield from _added(op)
        elif isinstance(op, ops.AddColumnOp):
            yield op.table_name, op.column
