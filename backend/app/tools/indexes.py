"""Indexes for migrations of tables that are in use: writers go on while one is made.

On PostgreSQL what the migration did before is committed first, so such a migration does nothing else. A run that was
killed leaves an index that is not valid: the next one takes it away and begins anew. On SQLite, where one process
writes at a time, it is an index like any other.
"""

from collections.abc import Sequence
from typing import Any

from alembic import op


def create_concurrently(name: str, table: str, columns: Sequence[Any], **more: Any) -> None:
    """Make an index; `more` is what `op.create_index` takes."""
    if op.get_context().dialect.name == "sqlite":
        op.create_index(name, table, columns, **more)
        return
    with op.get_context().autocommit_block():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, columns, postgresql_concurrently=True, **more)


def drop_concurrently(name: str, table: str) -> None:
    """Drop an index, if it is there."""
    if op.get_context().dialect.name == "sqlite":
        op.drop_index(name, table, if_exists=True)
        return
    with op.get_context().autocommit_block():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
