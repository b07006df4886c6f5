"""Looking after the tables."""

from typing import Any

import structlog

from app.core.db import new_session
from app.models.background_task import TaskType
from app.services import maintenance
from app.worker.schedules import periodic
from app.worker.tracking import task

log = structlog.get_logger()


class SweepIncomplete(Exception):
    """Some tables could not be swept: the log says why. The next sweep tries them again."""

    code = "sweep_incomplete"


@periodic("*/5 * * * *")
@task(TaskType.sweep)
async def sweep() -> dict[str, Any] | None:
    """Delete what is past its time, a table in a transaction: one that fails stops no other. The rows that went."""
    gone: dict[str, int] = {}
    failed: list[str] = []
    for table, step in maintenance.STEPS.items():
        try:
            async with new_session() as db:
                gone[table] = await step(db)
                await db.commit()
        except Exception:  # the other tables do not wait for this one
            log.warning("sweep_failed", table=table, exc_info=True)
            failed.append(table)
    if failed:
        raise SweepIncomplete(f"Not swept: {', '.join(failed)}")
    return {table: number for table, number in gone.items() if number} or None
