"""Looking after the tables."""

from collections import Counter
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
    """Delete what is past its time, in small transactions; a table that fails stops no other. The rows that went."""
    gone: Counter[str] = Counter()
    failed: list[str] = []
    for table, step in maintenance.STEPS.items():
        try:
            while number := await _portion(step):
                gone[table] += number
        except Exception:  # the other tables do not wait for this one
            log.warning("sweep_failed", table=table, exc_info=True)
            failed.append(table)
    if failed:
        raise SweepIncomplete(f"Not swept: {', '.join(failed)}")
    return dict(gone) or None


async def _portion(step: maintenance.Step) -> int:
    async with new_session() as db:
        number = await step(db)
        await db.commit()
        return number
