"""The tables of a database at another revision than the models. What both have in common is of the models' types."""

from typing import Any

import sqlalchemy as sa
from sqlmodel import AutoString, SQLModel

from app.core.db import build_engine
from app.core.sql import UTCDateTime
from app.models.base import JSON_TYPE
from app.tools.copying.lines import Lines

VERSIONS = "alembic_version"
_TYPES: tuple[tuple[Any, Any], ...] = (
    (sa.Uuid, sa.Uuid()),
    (sa.JSON, JSON_TYPE),
    ((sa.LargeBinary, sa.Boolean, sa.Integer, sa.Float, sa.Numeric, sa.Date, sa.Time, sa.Enum), None),
)


async def tables_of(url: str) -> list[Lines]:
    """Every table of the database at `url`, those that are referred to first."""
    engine = build_engine(url, pool_size=1)
    found = sa.MetaData()
    try:
        async with engine.connect() as connection:
            await connection.run_sync(found.reflect)
    finally:
        await engine.dispose()
    return [Lines(_as_known(table)) for table in found.sorted_tables if table.name != VERSIONS]


def _as_known(found: sa.Table) -> sa.Table:
    known = SQLModel.metadata.tables.get(found.name)
    columns = [_column(one, known.columns.get(one.name) if known is not None else None) for one in found.columns]
    return sa.Table(found.name, sa.MetaData(), *columns, info=known.info if known is not None else {})


def _column(found: sa.Column[Any], known: sa.Column[Any] | None) -> sa.Column[Any]:
    if known is not None:
        return sa.Column(found.name, known.type, primary_key=found.primary_key, info=known.info)
    return sa.Column(found.name, _type(found.type), primary_key=found.primary_key, info={})


def _type(found: Any) -> Any:
    if isinstance(found, sa.DateTime):
        return UTCDateTime() if found.timezone else found
    for kind, ours in _TYPES:
        if isinstance(found, kind):
            return found if ours is None else ours
    return AutoString()
