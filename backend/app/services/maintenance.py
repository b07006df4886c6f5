"""What time makes useless goes, in small statements over indexes."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.config import settings
from app.crud import (
    audit,
    change,
    export,
    heartbeat,
    idempotency_key,
    known_device,
    mail_budget,
    mail_token,
    session,
    task,
)
from app.models.background_task import TaskType
from app.services import devices, erasure, idempotency, mailing

SESSIONS_KEPT = timedelta(days=7)  # after their end, so that a late refresh token is still told what happened
CHANGES_KEPT = timedelta(hours=1)  # no reader of the feed may be older than a second
HEARTBEATS_KEPT = timedelta(hours=1)
UNVERIFIED_KEPT = timedelta(days=7)  # where sign-in needs a verified address: nobody ever came in
SWEEPS_KEPT = timedelta(days=1)  # 288 rows of the sweep itself, which otherwise would stay as long as all others
SWEEPS_SPAN = timedelta(hours=1)  # a sweep looks at the rows that came of that age so lately, not at all older ones
AT_ONCE = 500  # accounts deleted in one transaction
Step = Callable[[AsyncSession], Awaitable[int]]


async def _sessions(db: AsyncSession) -> int:
    return await session.purge(db, before=utc_now() - SESSIONS_KEPT)


async def _mail_tokens(db: AsyncSession) -> int:
    return await mail_token.purge(db, before=utc_now())


async def _idempotency_keys(db: AsyncSession) -> int:
    return await idempotency_key.purge(db, before=utc_now() - idempotency.LIFE)


async def _audit_origins(db: AsyncSession) -> int:
    return await audit.purge_origins(db, before=utc_now() - timedelta(days=settings.audit_origins_kept_days))


async def _mail_budgets(db: AsyncSession) -> int:
    return await mail_budget.purge(db, before=utc_now() - mailing.BUDGET_SPAN)


async def _users(db: AsyncSession) -> int:
    return await erasure.erase_unproven(db, before=utc_now() - UNVERIFIED_KEPT, most=AT_ONCE)


async def _exports(db: AsyncSession) -> int:
    return await export.purge(db, before=utc_now())


async def _known_devices(db: AsyncSession) -> int:
    return await known_device.purge(db, before=utc_now() - devices.KEPT)


async def _changes(db: AsyncSession) -> int:
    return await change.purge(db, before=utc_now() - CHANGES_KEPT)


async def _heartbeats(db: AsyncSession) -> int:
    return await heartbeat.purge(db, older_than=HEARTBEATS_KEPT)


async def _tasks(db: AsyncSession) -> int:
    finished, failed = timedelta(days=settings.tasks_kept_days), timedelta(days=settings.failed_tasks_kept_days)
    return await task.purge(db, finished=finished, failed=failed)


async def _sweeps(db: AsyncSession) -> int:
    return await task.purge_of_type(db, TaskType.sweep, older_than=SWEEPS_KEPT, within=SWEEPS_SPAN)


STEPS: dict[str, Step] = {
    "user_sessions": _sessions,
    "mail_tokens": _mail_tokens,
    "idempotency_keys": _idempotency_keys,
    "audit_origins": _audit_origins,
    "mail_budgets": _mail_budgets,
    "users": _users,
    "exports": _exports,
    "known_devices": _known_devices,
    "changes": _changes,
    "heartbeats": _heartbeats,
    "background_tasks": _tasks,
    "sweeps": _sweeps,
}
"""What deletes a portion of that which is past its time, by table, and answers the number of rows. To be called until
that is none, each time in a transaction of its own."""
