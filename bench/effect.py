"""What a task of the loss test does, on both sides: it counts its runs in a row of its own."""

import os
from functools import lru_cache

import asyncpg

TABLE = "CREATE TABLE effects (task_id uuid PRIMARY KEY, runs int NOT NULL)"
_COUNT = """INSERT INTO effects VALUES ($1, 1) ON CONFLICT (task_id) DO UPDATE SET runs = effects.runs + 1"""


@lru_cache(maxsize=1)
def _holder(_process: int) -> list[asyncpg.Connection]:
    return []


async def leave_effect(task_id: str) -> None:
    """One statement on a connection that the process keeps."""
    held = _holder(os.getpid())
    if not held:
        held.append(await asyncpg.connect(os.environ["BENCH_EFFECTS"]))
    await held[0].execute(_COUNT, task_id)
