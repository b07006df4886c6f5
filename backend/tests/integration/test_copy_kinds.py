"""Types that no table of ours has, and a product will have: they are copied there and back by both engines."""

import enum
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from app.core.db import build_engine
from app.tools.copying import ends
from app.tools.copying.lines import Lines
from app.tools.copying.proof import Proof
from app.tools.copying.unfit import reasons
from tests.databases import empty_database
from tests.services import Services


class Size(enum.Enum):
    small = 1
    large = 2


THINGS = sa.Table(
    "Odd things",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("size", sa.Enum(Size)),
    sa.Column("born", sa.Date),
    sa.Column("opens", sa.Time),
    sa.Column("local", sa.DateTime),
    sa.Column("price", sa.Numeric(12, 4)),
    sa.Column("small", sa.SmallInteger),
    sa.Column("note", sa.Text),
)
ROWS: list[dict[str, Any]] = [
    {"id": 1, "size": Size.large, "born": date(1970, 1, 1), "opens": time(23, 59, 59, 999_999),
     "local": datetime(9999, 12, 31, 23, 59, 59, 1), "price": Decimal("-0.0100"), "small": -32768, "note": "\\N\t\n"},  # noqa: DTZ001 - a clock on a wall
    {"id": 2, "size": Size.small, "born": date(9999, 12, 31), "opens": time(0), "local": datetime(1, 1, 1),  # noqa: DTZ001 - see above
     "price": Decimal("19.99"), "small": 7, "note": ""},
    {"id": 3} | dict.fromkeys(("size", "born", "opens", "local", "price", "small", "note")),
]  # fmt: skip


async def made(url: str, rows: list[dict[str, Any]]) -> None:
    engine = build_engine(url, pool_size=1)
    async with engine.begin() as connection:
        await connection.run_sync(THINGS.metadata.create_all)
        if rows:
            await connection.execute(sa.insert(THINGS), rows)
    await engine.dispose()


async def read(url: str) -> list[Any]:
    engine = build_engine(url, pool_size=1)
    async with engine.connect() as connection:
        found = (await connection.execute(sa.select(THINGS).order_by("id"))).all()
    await engine.dispose()
    return [tuple(row) for row in found]


async def copied(url: str, to: str) -> None:
    lines = Lines(THINGS)
    async with ends.source(url) as source, ends.target(to) as target, target.transaction():
        apart = await target.take_apart([lines])
        await target.empty(lines)
        await target.fill(lines, source.lines(lines))
        await target.put_together(apart, [lines], {})
        one, other = Proof(lines=lines), Proof(lines=lines)
        async for some in source.lines(lines):
            one.add(some)
        async for some in target.lines(lines):
            other.add(some)
        assert (one.checksum, one.rows) == (other.checksum, other.rows) == (other.checksum, 3)


@pytest.mark.stack(name="server")
async def test_dates_prices_and_choices_are_copied_there_and_back(services: Services, tmp_path: Any) -> None:
    sqlite, postgresql, back = (
        f"sqlite:///{tmp_path}/a.db",
        empty_database(services, "kinds"),
        f"sqlite:///{tmp_path}/b.db",
    )
    await made(sqlite, ROWS)
    await made(postgresql, [])
    await made(back, [])
    await copied(sqlite, postgresql)
    await copied(postgresql, back)
    assert await read(sqlite) == await read(postgresql) == await read(back) == [tuple(row.values()) for row in ROWS]


WRONG = {
    "size: none of its values": "UPDATE things SET size = 'huge'",
    "born: no date": "UPDATE things SET born = '2026-02-30'",
    "opens: no time of day": "UPDATE things SET opens = 'noon'",
    "local: no time": "UPDATE things SET local = '2026-01-01'",
    "price: no number": "UPDATE things SET price = 'dear'",
    "price: more than 12 digits": "UPDATE things SET price = 123456789",
    "price: no finite number": "UPDATE things SET price = 9e999",
    "small: out of range": "UPDATE things SET small = 40000",
}


@pytest.mark.parametrize("reason", WRONG)
async def test_what_is_none_of_them_does_not_fit(tmp_path: Any, reason: str) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    await made(url, ROWS[:2])
    engine = build_engine(url, pool_size=1)
    conditions = {said: condition for said, condition in reasons(Lines(THINGS)) if "is_utf8" not in condition}
    async with engine.begin() as connection:
        for said, condition in conditions.items():
            none = await connection.execute(sa.text(f'SELECT count(*) FROM "Odd things" WHERE {condition}'))
            assert none.scalar_one() == 0, said
        await connection.execute(sa.text(WRONG[reason].replace("things", '"Odd things"')))
        known = next(condition for said, condition in conditions.items() if said.startswith(reason))
        found = await connection.execute(sa.text(f'SELECT count(*) FROM "Odd things" WHERE {known}'))
        assert found.scalar_one() == 2
    await engine.dispose()
