from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, literal
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import col, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import is_sqlite
from app.crud import purging
from app.models.mail_budget import MailBudget


async def add(db: AsyncSession, address: str, *, now: datetime) -> list[str]:
    """Add a time to those of this address, whose row nobody else changes before the commit; all of them."""
    added, promised = [now.isoformat()], col(MailBudget.promised)
    make = sqlite_insert if is_sqlite(db) else postgresql_insert
    more: ColumnElement[Any] = promised.op("||")(literal(added, JSONB))
    if is_sqlite(db):
        more = func.json_insert(promised, "$[#]", added[0])
    statement = (
        make(MailBudget)
        .values(address=address, promised=added, updated_at=now)
        .on_conflict_do_update(index_elements=["address"], set_={"updated_at": now, "promised": more})
        .returning(promised)
    )
    return list((await db.exec(statement)).scalars().one())


async def keep(db: AsyncSession, address: str, promised: list[str]) -> None:
    await db.exec(
        update(MailBudget)
        .where(col(MailBudget.address) == address)
        .values(promised=promised)
        .execution_options(synchronize_session=False)
    )


async def purge(db: AsyncSession, *, before: datetime) -> int:
    return await purging.purge(db, MailBudget, col(MailBudget.updated_at) < before)
