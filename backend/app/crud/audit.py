from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import insert, literal
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.sql import first_id
from app.crud import purging
from app.crud.pages import only, page
from app.models.audit import AuditEvent, AuditOrigin
from app.models.user import User
from app.schemas.pages import Page, Window

SLACK = timedelta(minutes=1)  # an event's id and its time are made one after the other, by two clocks that may be set


async def add(db: AsyncSession, event: AuditEvent, came_from: AuditOrigin | None) -> None:
    """Write the event, then where it came from, which goes with its account: nothing where that is going just now."""
    db.add(event)
    await db.flush()
    if came_from is None:
        return
    if came_from.user_id is None:
        db.add(came_from)
        await db.flush()
        return
    columns = AuditOrigin.__table__.columns  # type: ignore[attr-defined]  # SQLModel sets it on every table class
    values = [literal(getattr(came_from, column.key), column.type) for column in columns]
    theirs = select(*values).where(User.id == came_from.user_id).with_for_update(read=True, key_share=True, of=User)
    await db.exec(insert(AuditOrigin).from_select([column.key for column in columns], theirs))


async def purge_origins(db: AsyncSession, *, before: datetime) -> int:
    return await purging.purge(db, AuditOrigin, col(AuditOrigin.created_at) < before)


async def find(
    db: AsyncSession, window: Window, *, actor_id: UUID | None, action: str | None, since: datetime | None
) -> Page[AuditEvent]:
    """Events, the newest first. Ids are in the order of time, so that `since` reads no older rows."""
    statement = select(AuditEvent)
    if actor_id is not None:
        statement = statement.where(AuditEvent.actor_id == actor_id)
    if action is not None:
        statement = statement.where(AuditEvent.action == action)
    if since is not None:
        statement = statement.where(AuditEvent.id >= first_id(since - SLACK), AuditEvent.created_at >= since)
    return await page(db, statement, AuditEvent.id, window)


async def about(db: AsyncSession, user_id: UUID, window: Window) -> Page[AuditEvent]:
    """What happened to an account, and when; not who did it."""
    what = only(AuditEvent.created_at, AuditEvent.action)
    theirs = (AuditEvent.target_id == str(user_id), AuditEvent.target_type == "user")
    statement = select(AuditEvent).where(*theirs).options(what)
    return await page(db, statement, AuditEvent.id, window)


async def origins(db: AsyncSession, events: Collection[UUID], *, owner: UUID | None = None) -> dict[UUID, AuditOrigin]:
    """Where events came from, as far as it stands still; with `owner`, that account's own alone."""
    where = only(AuditOrigin.ip, AuditOrigin.user_agent)
    statement = select(AuditOrigin).where(col(AuditOrigin.event_id).in_(events)).options(where)
    if owner is not None:
        statement = statement.where(AuditOrigin.user_id == owner)
    return {one.event_id: one for one in (await db.exec(statement)).all()}
