"""All that stands in the database, and what came since: to compare what two ways of doing the same have written."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import inspect, select
from sqlmodel import SQLModel

from app.core.db import new_session

Rows = dict[tuple[str, str], dict[str, Any]]


async def everything() -> Rows:
    """Each row of each table, by its table and key."""
    found: Rows = {}
    async with new_session(read_only=True) as db:
        connection = await db.connection()
        for table in SQLModel.metadata.sorted_tables:
            names = [column.name for column in inspect(table).primary_key]
            for row in (await connection.execute(select(table))).mappings():
                found[table.name, str([row[name] for name in names])] = dict(row)
    return found


def in_common(new: list[tuple[str, dict[str, Any]]], own: dict[str, str], began: datetime) -> list[Any]:
    """The rows, with what each doing has of its own told by name: ids in their order, hours since it began, `own`."""
    ids: dict[str, str] = {}

    def told(value: Any) -> Any:
        if isinstance(value, UUID):
            return ids.setdefault(str(value), f"id {len(ids)}")
        if isinstance(value, datetime):
            return round((value - began) / timedelta(hours=1), 1)
        if isinstance(value, bytes):
            return len(value)
        if isinstance(value, (dict, list)):
            return json.dumps(value) if not value else [told(one) for one in _flat(value)]
        if isinstance(value, str):
            return ids.get(value) or own.get(value) or _moment(value, told) or value
        return value

    return [(table, {name: told(value) for name, value in row.items()}) for table, row in new]


def _flat(value: Any) -> list[Any]:
    return [part for one in value.items() for part in one] if isinstance(value, dict) else list(value)


def _moment(value: str, told: Any) -> str | None:
    try:
        return f"moment {told(datetime.fromisoformat(value))}"
    except ValueError:
        return None
