"""Whether a change of the schema takes something away that a downgrade could not bring back."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic.operations import ops
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect

_POSTGRESQL: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy gives it no types


def destructive(upgrade: ops.OpContainer) -> Iterator[str]:
    """What is destroyed, in words that name table and column."""
    for op in upgrade.ops:
        if isinstance(op, ops.OpContainer):
            yield from destructive(op)
        elif isinstance(op, ops.DropTableOp):
            yield f"the table {op.table_name} and its rows are dropped"
        elif isinstance(op, ops.DropColumnOp):
            yield f"the column {op.table_name}.{op.column_name} and its values are dropped"
        elif isinstance(op, ops.AlterColumnOp) and op.modify_type and narrows(op.existing_type, op.modify_type):
            yield f"{op.table_name}.{op.column_name} goes from {told(op.existing_type)} to {told(op.modify_type)}"


def narrows(old: Any, new: Any) -> bool:
    """Whether a value of the type `old` may not fit into `new`, or may come back from it as another value."""
    old, new = _plain(old), _plain(new)
    if isinstance(new, sa.String) and isinstance(old, sa.String) and not isinstance(new, sa.Enum):
        return new.length is not None and (old.length is None or new.length < old.length)
    if isinstance(old, sa.Integer) and isinstance(new, sa.Integer):
        return _room(new) < _room(old)
    if isinstance(old, sa.Numeric) and isinstance(new, sa.Numeric):
        return not _holds(new, old)
    return True


def akin(old: Any, new: Any) -> bool:
    """Whether both are texts, or both are whole numbers, or such: PostgreSQL makes one of the other by itself."""
    kinds = (sa.Enum, sa.String, sa.Integer, sa.Numeric, sa.DateTime, sa.Uuid, sa.Boolean, sa.LargeBinary)
    of = [next((kind for kind in kinds if isinstance(_plain(one), kind)), type(_plain(one))) for one in (old, new)]
    return of[0] is of[1] and of[0] is not sa.Enum


def told(kind: Any) -> str:
    """A type in the words of PostgreSQL."""
    return str(_plain(kind).compile(dialect=_POSTGRESQL))


def _plain(kind: Any) -> Any:
    """The type that the database knows."""
    made = kind() if isinstance(kind, type) else kind
    return made.impl_instance if isinstance(made, sa.types.TypeDecorator) else made


def _room(kind: sa.Integer) -> int:
    """How many bytes it has."""
    return 8 if isinstance(kind, sa.BigInteger) else 2 if isinstance(kind, sa.SmallInteger) else 4


def _holds(new: sa.Numeric[Any], old: sa.Numeric[Any]) -> bool:
    """Whether as many digits have room before the point, and after it."""
    if new.precision is None or old.precision is None:
        return new.precision is None
    scales = (new.scale or 0, old.scale or 0)
    return bool(new.precision - scales[0] >= old.precision - scales[1] and scales[0] >= scales[1])
