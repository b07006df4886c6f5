"""What Alembic leaves out of a new migration, and PostgreSQL has to be told: how values get another type, and types of
enumerations, which are made and dropped. SQLite has none."""

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


_altered = renderers.dispatch(ops.AlterColumnOp)


@renderers.dispatch_for(ops.AlterColumnOp, replace=True)
def _render_altered(context: AutogenContext, op: ops.AlterColumnOp) -> str:
    """As Alembic writes it, with how PostgreSQL makes the new values, which it leaves out."""
    text, using = str(_altered(context, op)), op.kw.get("postgresql_using")
    return f"{text.removesuffix(')')}, postgresql_using={using!r})" if using else text


def complete(forth: ops.OpContainer, back: ops.OpContainer) -> None:
    """Make a type before a column of it is added (a new table makes its own); drop it when its last column has gone."""
    in_new, in_old = _enums(created(forth)), _enums(added(forth))
    new = {(table, column.name) for table, column in (*created(forth), *added(forth))}
    stays = _enums(
        (table.name, column)
        for table in SQLModel.metadata.tables.values()
        for column in table.columns
        if (table.name, column.name) not in new
    )
    for name, kind in in_old.items():
        if name not in stays and name not in in_new:
            values = ", ".join("'" + value.replace("'", "''") + "'" for value in kind.enums)
            forth.ops.insert(0, OnPostgreSQL(f"CREATE TYPE {quoted(name)} AS ENUM ({values})"))
    for name in sorted((in_new.keys() | in_old.keys()) - stays.keys()):
        back.ops.append(OnPostgreSQL(f"DROP TYPE {quoted(name)}"))


def quoted(name: str) -> str:
    """A name as PostgreSQL takes it."""
    preparer = postgresql.dialect().identifier_preparer  # type: ignore[no-untyped-call] # SQLAlchemy has none
    return str(preparer.quote(name))


def _enums(columns: Iterable[_Column]) -> dict[str, sa.Enum]:
    """The types that PostgreSQL keeps for these columns, by name."""
    kinds = (column.type for _, column in columns)
    return {kind.name: kind for kind in kinds if isinstance(kind, sa.Enum) and kind.native_enum and kind.name}


def created(under: ops.OpContainer) -> Iterator[_Column]:
    """The columns of new tables."""
    for op in under.ops:
        if isinstance(op, ops.CreateTableOp):
            yield from ((op.table_name, column) for column in op.columns if isinstance(column, sa.Column))


def added(under: ops.OpContainer) -> Iterator[_Column]:
    """New columns of tables that are there."""
    for op in under.ops:
        if isinstance(op, ops.OpContainer):
            yield from added(op)
        elif isinstance(op, ops.AddColumnOp):
            yield op.table_name, op.column


def altered(under: ops.OpContainer) -> Iterator[ops.AlterColumnOp]:
    """The columns that change."""
    for op in under.ops:
        if isinstance(op, ops.OpContainer):
            yield from altered(op)
        elif isinstance(op, ops.AlterColumnOp):
            yield op
