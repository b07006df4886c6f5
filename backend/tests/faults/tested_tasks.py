"""Tasks of the tests' own, in the product's own worker: `Role("worker", main=MAIN)`."""

import asyncio
from typing import cast

from sqlalchemy import text

from app.core.db import new_session
from app.models import TaskType
from app.worker.context import current_task
from app.worker.tracking import task

MAIN = "import tests.faults.tested_tasks; from app.cli import main; main()"
EFFECT, NAP = cast("TaskType", "tested_effect"), cast("TaskType", "tested_nap")
EFFECTS = "CREATE TABLE effects (id VARCHAR(36) PRIMARY KEY)"


@task(EFFECT, max_attempts=100)
async def leave_effect() -> None:
    """An effect that is guarded by its key: a second run finds that it is there."""
    async with new_session() as db:
        statement = text("INSERT INTO effects (id) VALUES (:id) ON CONFLICT DO NOTHING")
        await db.exec(statement, params={"id": str(current_task.get())})  # type: ignore[call-overload] # typed for select() only
        await db.commit()


@task(NAP)
async def nap(seconds: float) -> None:
    await asyncio.sleep(seconds)  # what it is for
