"""How the database would answer what was asked of it: which tables it would read from end to end."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

from app.core.db import engine
from app.core.direct import Direct
from app.core.sql import is_sqlite

BOUNDED = frozenset({"installation", "paused_queues", "task_schedules", "leases", "heartbeats", "alembic_version"})
BOUNDED |= {"config_revisions"}
"""Tables that have a row for each process, queue or schedule, or for what an operator did, however many customers there
are."""
BY_NUMBER = frozenset({"audit_seals", "changes"})
"""Tables that SQLite keeps in the order of their key: the last row is read from the end, and it calls that a scan."""
_SCAN = re.compile(r"SCAN (\w+)")
_WALK = re.compile(r"SCAN (\w+) USING (?:COVERING )?INDEX sqlite_autoindex_\w+")
"""By the order of the key: fine for the first page of all rows, and not for those that fit a condition."""
Asked = dict[str, Any]
"""Statements, and the values that each was asked with last."""


@contextmanager
def asked() -> Iterator[Asked]:
    """What is asked of this process's engine within the block."""
    found: Asked = {}

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            found[statement] = values

    event.listen(engine().sync_engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine().sync_engine, "before_cursor_execute", note)


async def read_from_end_to_end(statements: Asked) -> dict[str, str]:
    """Tables that could only be read as a whole, and the statement that does."""
    found: dict[str, str] = {}
    async with engine().connect() as connection:
        for statement, values in statements.items():
            for table in await _scanned(connection, statement, values):
                if table not in BOUNDED:
                    found[table] = statement
        await connection.rollback()
    return found


async def _scanned(connection: AsyncConnection, statement: str, values: Any) -> list[str]:
    if is_sqlite(engine()):
        rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        details = [str(row[3]) for row in rows]
        found = [match[1] for match in map(_SCAN.fullmatch, details) if match]
        if " WHERE " in " ".join(statement.split()):
            found += [match[1] for match in map(_WALK.fullmatch, details) if match]
        whole = {name for name in found if not (name in BY_NUMBER and "LIMIT" in statement)}
        return [name for name in whole if name in SQLModel.metadata.tables]
    # On a small table a scan is the cheapest, so that it is forbidden: what scans all the same has no index.
    await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    plan = (await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values)).scalar_one()
    return list(_scans(json.loads(plan) if isinstance(plan, str) else plan))


async def scanned_directly(statement: Direct, **values: Any) -> list[str]:
    """The same for a statement that goes past SQLAlchemy."""
    async with engine().connect() as connection:
        await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        driver: Any = (await connection.get_raw_connection()).driver_connection
        plan = await driver.fetchval(f"EXPLAIN (FORMAT JSON) {statement.sql}", *statement.arguments(values))
        await connection.rollback()
    return list(_scans(json.loads(plan) if isinstance(plan, str) else plan))


def _scans(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for one in node:
            yield from _scans(one)
    elif isinstance(node, dict):
        if node.get("Node Type") == "Seq Scan":
            yield str(node["Relation Name"])
        for value in node.values():
            if isinstance(value, list | dict):
                yield from _scans(value)
