"""The yardstick of refreshing: a bare FastAPI endpoint that does one compare-and-swap by asyncpg, and nothing else."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from fastapi import FastAPI
from pydantic import BaseModel

TABLE = "CREATE TABLE IF NOT EXISTS swaps (id int PRIMARY KEY, generation int NOT NULL)"
SWAP = "UPDATE swaps SET generation = generation + 1 WHERE id = $1 AND generation = $2 RETURNING generation"
pool: Any = None


class Turn(BaseModel):
    """Whose, and the generation that the caller knows."""

    id: int
    generation: int


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    global pool
    pool = await asyncpg.create_pool(os.environ["PEER_DATABASE"], min_size=10, max_size=10)
    await pool.execute(TABLE)
    await pool.execute("INSERT INTO swaps SELECT n, 1 FROM generate_series(1, 1000) n ON CONFLICT DO NOTHING")
    yield
    await pool.close()


app = FastAPI(lifespan=lifespan)


@app.post("/swap")
async def swap(turn: Turn) -> Turn:
    generation = await pool.fetchval(SWAP, turn.id, turn.generation)
    return Turn(id=turn.id, generation=generation or 0)
