"""What time makes useless goes, in small statements over indexes."""

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
from app.services import devices, erasure, idempotency, mailing

SESSIONS_KEPT = timedelta(days=7)  # after their end, so that a late refresh token is still told what happened
CHANGES_KEPT = timedelta(hours=1)  # no reader of the feed may be older than a second
HEARTBEATS_KEPT = timedelta(hours=1)
UNVERIFIED_KEPT = timedelta(days=7)  # where sign-in needs a verified address: nobody ever came in
AT_ONCE = 500  # accounts deleted by one sweep, so that none takes long


async def sweep(db: AsyncSession) -> dict[str, int]:
    """Delete what is past its time; the number of rows by table."""
    now = utc_now()
    return {
        "user_sessions": await session.purge(db, before=now - SESSIONS_KEPT),
        "mail_tokens": await mail_token.purge(db, before=now),
        "idempotency_keys": await idempotency_key.purge(db, before=now - idempotency.LIFE),
        "audit_origins": await audit.purge_origins(db, before=now - timedelta(days=settings.audit_origins_kept_days)),
        "mail_budgets": await mail_budget.purge(db, before=now - mailing.BUDGET_SPAN),
        "users": await erasure.erase_unproven(db, before=now - UNVERIFIED_KEPT, most=AT_ONCE),
        "exports": await export.purge(db, before=now),
        "known_devices": await known_device.purge(db, before=now - devices.KEPT),
        "changes": await change.purge(db, before=now - CHANGES_KEPT),
        "heartbeats": await heartbeat.purge(db, older_than=HEARTBEATS_KEPT),
        "background_tasks": await task.purge(
            db,
            finished=timedelta(days=settings.tasks_kept_days),
            failed=timedelta(days=settings.failed_tasks_kept_days),
        ),
    }
