"""The usual sign-in, in statements past SQLAlchemy. On PostgreSQL alone."""

from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Boolean, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import SQLModel, col

from app.core.direct import Direct
from app.crud import known_device
from app.crud.known_device import Account
from app.crud.session import living_of
from app.models.audit import AuditEvent, AuditOrigin
from app.models.known_device import KnownDevice
from app.models.user import User
from app.models.user_session import UserSession


async def account(connection: Any, email: str, network: str, *, since: datetime) -> Account | None:
    """As `known_device.account`."""
    found = await _account().all(connection, email=email, network=network, since=since)
    return Account(*found[0]) if found else None


async def open_session(
    connection: Any,
    hashed_password: str,
    session: UserSession,
    device: KnownDevice,
    event: AuditEvent,
    place: AuditOrigin,
    *,
    only_verified: bool,
    most: int,
) -> bool:
    """Add a session, when its device was seen, and what the audit says of it.

    False, and nothing written, unless the account is active (and its address proven, with `only_verified`), its
    password is still the one that was checked, it has no device yet or knows this one, and half of the sessions that it
    may have are free. Nor while somebody else holds it: nobody waits here.
    """
    rows = (session, device, event, place)
    values = {_name(type(row), column): getattr(row, column) for row in rows for column in type(row).model_fields}
    values |= {"hashed_password": hashed_password, "only_verified": only_verified, "half": most // 2}
    return bool(await _open().all(connection, **values))


@lru_cache(maxsize=1)
def _account() -> Direct:
    return Direct(known_device.account_statement())


@lru_cache(maxsize=1)
def _open() -> Direct:
    """What counts the sessions sees those of a moment before the account is locked: hence half of them are free."""
    its = {column: _bound(KnownDevice, column) for column in KnownDevice.model_fields}
    free = (
        select(col(User.id))
        .where(
            col(User.id) == its["user_id"],
            col(User.hashed_password) == bindparam("hashed_password"),
            col(User.is_active).is_(True),
            col(User.is_verified) | ~bindparam("only_verified", type_=Boolean()),
        )
        .with_for_update(key_share=True, skip_locked=True)
        .cte("free")
    )
    sessions = select(func.count()).where(*living_of(its["user_id"], its["seen_at"])).scalar_subquery()
    devices = select(col(KnownDevice.agent)).where(col(KnownDevice.user_id) == its["user_id"])
    same = devices.where(col(KnownDevice.network) == its["network"], col(KnownDevice.agent) == its["agent"])
    usual = (sessions < bindparam("half"), same.exists() | ~devices.exists())
    seen = (
        _insert(KnownDevice, select(free).exists(), *usual)
        .on_conflict_do_update(constraint=KnownDevice.__table__.primary_key, set_={"seen_at": its["seen_at"]})  # type: ignore[attr-defined]  # SQLModel sets it on every table class
        .returning(col(KnownDevice.user_id))
        .cte("seen")
    )
    its_rows = (UserSession, AuditEvent, AuditOrigin)
    added = [_insert(model, select(seen).exists()).cte(f"of_{model.__tablename__}") for model in its_rows]
    return Direct(select(seen.c.user_id).add_cte(*added))


def _insert(model: type[SQLModel], *conditions: Any) -> Any:
    values = select(*(_bound(model, column) for column in model.model_fields)).where(*conditions)
    return insert(model).from_select(list(model.model_fields), values)


def _bound(model: type[SQLModel], column: str) -> Any:
    return bindparam(_name(model, column), type_=getattr(model, column).type)


def _name(model: type[SQLModel], column: str) -> str:
    return f"{model.__tablename__}_{column}"
