"""What can be told apart of a database's schema."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.db import build_engine


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncConnection]:
    """A transaction on a connection of its own, committed at the end."""
    engine = build_engine(url, pool_size=1)
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


async def look(url: str, ask: Any) -> Any:
    """What `ask(inspector)` says of the database."""
    async with connected(url) as connection:
        return await connection.run_sync(lambda sync: ask(sa.inspect(sync)))


async def run(url: str, *statements: str) -> None:
    async with connected(url) as connection:
        for statement in statements:
            await connection.execute(sa.text(statement))


async def answer(url: str, question: str) -> Any:
    """The first value of the one row that it answers."""
    async with connected(url) as connection:
        return (await connection.execute(sa.text(question))).scalar_one()


def shape(inspector: sa.Inspector) -> dict[str, str]:
    """Everything of the schema that can be told apart, table by table."""
    return {
        table: json.dumps(
            {
                "columns": [
                    (c["name"], str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(table)
                ],
                "key": inspector.get_pk_constraint(table),
                "indexes": sorted(inspector.get_indexes(table), key=lambda i: str(i["name"])),
                "unique": sorted(inspector.get_unique_constraints(table), key=lambda u: str(u["name"])),
                "foreign": sorted(inspector.get_foreign_keys(table), key=lambda f: str(f["name"])),
                "checks": sorted(inspector.get_check_constraints(table), key=lambda c: str(c["name"])),
            },
            default=str,
        )
        for table in inspector.get_table_names()
    }
