"""Changes of a table while it is written to, for revisions (`docs/how-to/expand-and-contract.md`).

Each commits as it goes and can be run again after a `kill -9` at any moment. So that what stands before it in its
revision can be, too, nothing may: one that was changed by the same revision before is refused.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

from app.tools.migrating import committed, has_changed, patiently
from app.tools.recording import Recorded

SQLITE_PAUSE = timedelta(milliseconds=150)  # longer than a writer that waits sleeps before it looks again (100 ms)


def create_index(name: str, table: str, columns: list[Any], **options: Any) -> None:
    """`op.create_index`, CONCURRENTLY on PostgreSQL. What a killed build left there, which is INVALID, goes first.

    On SQLite writers wait until it is built.
    """
    _stands_first()
    if _is_sqlite():
        op.create_index(name, table, columns, if_not_exists=True, **options)
        _let_others_write()
        return
    with _however_long():
        valid = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
        if not _is_script() and op.get_bind().execute(valid, {"name": _quoted(name)}).scalar() is False:
            op.drop_index(name, table, postgresql_concurrently=True)
        op.create_index(name, table, columns, if_not_exists=True, postgresql_concurrently=True, **options)


def drop_index(name: str, table: str) -> None:
    """`op.drop_index`, CONCURRENTLY on PostgreSQL. It may be gone."""
    _stands_first()
    if _is_sqlite():
        op.drop_index(name, table, if_exists=True)
        _let_others_write()
        return
    with _however_long():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)


def backfill(table: str, values: str, *, where: str, key: str = "id", batch: int = 1_000) -> int:
    """`UPDATE table SET values WHERE where` in transactions of `batch` rows each, by `key`; how many rows it changed.

    `where` has to tell what is done from what is not: it is run again after a kill, and is not to undo what a newer
    process wrote. `key` is unique. On SQLite there is a pause after each transaction, or writers would never come in.
    """
    _stands_first()
    if _is_script():
        with op.get_context().autocommit_block():
            op.execute(f"UPDATE {_quoted(table)} SET {values} WHERE {where}")  # noqa: S608 - a revision's own words
        return 0
    if _is_sqlite():
        changed = _in_batches(table, values, where, key, batch, _let_others_write)
        _let_others_write()
        return changed
    with op.get_context().autocommit_block():
        return _in_batches(table, values, where, key, batch, lambda: None)


def require_value(table: str, column: str, kind: sa.types.TypeEngine[Any]) -> None:
    """Make a column NOT NULL. PostgreSQL reads the rows for it under a lock that lets others write.

    On SQLite the table is made anew, and writers wait for that.
    """
    _stands_first()
    if _is_sqlite():
        with op.batch_alter_table(table) as changed:
            changed.alter_column(column, existing_type=kind, nullable=False)
        _let_others_write()
        return
    name = _quoted(f"ck_{table}_{column}_given")
    with op.get_context().autocommit_block():
        for change in (
            f"DROP CONSTRAINT IF EXISTS {name}",
            f"ADD CONSTRAINT {name} CHECK ({_quoted(column)} IS NOT NULL) NOT VALID",
            f"VALIDATE CONSTRAINT {name}",
            f"ALTER COLUMN {_quoted(column)} SET NOT NULL",  # the constraint proves it: no row is read
            f"DROP CONSTRAINT {name}",
        ):
            _patiently_execute(f"ALTER TABLE {_quoted(table)} {change}")


# --- how ------------------------------------------------------------------------------------------------------------


def _in_batches(table: str, values: str, where: str, key: str, batch: int, between: Callable[[], None]) -> int:
    key, rows, done, after = _quoted(key), _quoted(table), 0, None
    while True:
        beyond = "TRUE" if after is None else f"{key} > :after"
        ahead = f"SELECT {key} FROM {rows} WHERE {beyond} ORDER BY {key} LIMIT 1 OFFSET :skip"  # noqa: S608 - a revision's own words
        last = op.get_bind().execute(sa.text(ahead), _given(after=after, skip=batch - 1)).scalar()
        until = "TRUE" if last is None else f"{key} <= :last"
        update = f"UPDATE {rows} SET {values} WHERE {beyond} AND {until} AND ({where})"  # noqa: S608 - as above
        done += _patiently_execute(update, **_given(after=after, last=last))
        if last is None:
            return done
        after = last
        between()


@contextmanager
def _however_long() -> Iterator[None]:
    """For what waits until open transactions have ended, while nobody waits for it. It stands in no transaction."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        try:
            yield
        finally:
            op.execute("RESET lock_timeout")


def _patiently_execute(statement: str, **values: Any) -> int:
    if _is_script():
        op.execute(statement)
        return 0
    return patiently(lambda: op.get_bind().execute(sa.text(statement), values).rowcount)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _let_others_write() -> None:
    if _is_script():
        return
    connection = op.get_bind()
    connection.exec_driver_sql("COMMIT")
    committed(connection)
    time.sleep(SQLITE_PAUSE.total_seconds())
    patiently(lambda: connection.exec_driver_sql("BEGIN IMMEDIATE"))


def _stands_first() -> None:
    """Refuse a step of this module that stands behind others, on SQLite too: it would not run on PostgreSQL."""
    if _has_changed():
        raise CommandError(
            "this step commits what came before it, which a killed migration could not run again: "
            "give it a revision of its own, or the first place in one"
        )


def _has_changed() -> bool:
    """What was written, or will be told by `neoforge db lint`, since the last commit."""
    written = op.get_context().output_buffer if _is_script() else None
    return written.has_changed() if isinstance(written, Recorded) else not _is_script() and has_changed(op.get_bind())


def _is_sqlite() -> bool:
    return op.get_context().dialect.name == "sqlite"


def _is_script() -> bool:
    """Whether no database is asked: SQL is written down, by `alembic upgrade --sql` or for `neoforge db lint`."""
    return op.get_context().as_sql


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
