"""A new account with all that registering writes beside it, in one statement. On PostgreSQL alone."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import make_transient_to_detached
from sqlmodel import SQLModel, col
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.direct import Direct
from app.core.sql import columns_of, db_now, is_sqlite
from app.models.background_task import BackgroundTask
from app.models.mail_budget import MailBudget
from app.models.mail_token import MailToken
from app.models.user import User


async def add(db: AsyncSession, user: User, rows: Sequence[SQLModel]) -> bool:
    """Store a new account and these rows, each of a table of its own, with the first of its address's budget of mails.

    False, and nothing stored, where the address has an account or was promised mails before; where a row leaves a
    column to its default in the database; and on SQLite.
    """
    everything = (user, *rows)
    if is_sqlite(db) or not all(_is_whole(row) for row in everything):
        return False
    values = {_name(type(row), name): row.__dict__[name] for row in everything for name in columns_of(type(row))}
    if not await _statement(tuple(type(row) for row in everything)).last(db, **values):
        return False
    make_transient_to_detached(user)
    db.add(user)
    return True


def _is_whole(row: SQLModel) -> bool:
    return all(name in row.__dict__ and name == column.key for name, column in columns_of(type(row)).items())


@lru_cache(maxsize=8)
def _statement(models: tuple[type[SQLModel], ...]) -> Direct:
    address = _bound(MailBudget, "address")
    promised = select(col(MailBudget.address)).where(col(MailBudget.address) == address)
    made = (
        _insert(User, select(*_values(User)).where(~promised.exists()))
        .on_conflict_do_nothing(index_elements=["email"])
        .returning(col(User.id), col(User.is_active), col(User.is_verified))
        .cte("made")
    )
    beside = []
    for model in models[1:]:
        values = select(*_values(model)).select_from(made)
        if model is MailToken:  # as `mail_token.add_for_account`
            values = values.where(made.c.is_active, ~made.c.is_verified)
        adding = _insert(model, values)
        if model is MailBudget:  # another request may have begun it at this moment
            new, more = adding.excluded, col(MailBudget.promised).op("||")(adding.excluded.promised)
            set_ = {"updated_at": new.updated_at, "promised": more}
            adding = adding.on_conflict_do_update(index_elements=["address"], set_=set_)
        beside.append(adding.cte(f"of_{model.__tablename__}"))
    return Direct(select(made.c.id).add_cte(*beside))


def _insert(model: type[SQLModel], values: Any) -> Any:
    return insert(model).from_select(list(columns_of(model)), values, include_defaults=False)


def _values(model: type[SQLModel]) -> list[Any]:
    now = {"run_at"} if model is BackgroundTask else set()
    return [db_now() if name in now else _bound(model, name) for name in columns_of(model)]


def _bound(model: type[SQLModel], column: str) -> Any:
    return bindparam(_name(model, column), type_=getattr(model, column).type)


def _name(model: type[SQLModel], column: str) -> str:
    return f"{model.__tablename__}_{column}"
