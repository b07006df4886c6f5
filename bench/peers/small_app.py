"""The yardstick of starting: FastAPI, SQLModel and one route that asks the database, started by uvicorn."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Field, SQLModel, select
from sqlmodel.ext.asyncio.session import AsyncSession

database = os.environ.get("PEER_DATABASE", "postgresql://127.0.0.1/nothing")
engine = create_async_engine(database.replace("postgresql://", "postgresql+asyncpg://"))


class Hero(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    name: str


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/heroes")
async def heroes() -> Sequence[Hero]:
    async with AsyncSession(engine) as db:
        return (await db.exec(select(Hero))).all()
