"""Emptying the tables after a test: one look, and a transaction only where something stands."""

from sqlalchemy import text
from sqlmodel import SQLModel

import app.models  # noqa: F401 - registers every table
from app.core.db import new_session
from app.services import dynamic_config

# Which database this is, which processes live on it (the session's worker among them) and when these do what is
# periodic (tomorrow, see `stack.py`), and what nobody can delete.
KEPT = frozenset({"installation", "heartbeats", "task_schedules", "audit_events", "audit_unsealed", "audit_seals"})


async def empty_tables() -> None:
    """Delete every row of ours, children first."""
    tables = [table.name for table in reversed(SQLModel.metadata.sorted_tables) if table.name not in KEPT]
    async with new_session(read_only=True) as db:
        looks = ", ".join(f"EXISTS (SELECT 1 FROM {name})" for name in tables)
        filled = (await db.exec(text(f"SELECT {looks}"))).one()  # type: ignore[call-overload] # typed for select() only
    todo = [name for name, is_filled in zip(tables, filled, strict=True) if is_filled]
    if not todo:
        return
    async with new_session() as db:
        for name in todo:
            await db.exec(text(f"DELETE FROM {name}"))  # type: ignore[call-overload] # typed for select() only
        await db.commit()
    if "config_revisions" in todo:  # the process is told as the feed would tell it
        dynamic_config._forget(None)
        await dynamic_config.fresh()
