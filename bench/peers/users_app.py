"""A fastapi-users application: its quick start on asyncpg, with a JWT and `GET /users/me`. Runs in `.venv-bench`."""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin, schemas
from fastapi_users.authentication import AuthenticationBackend, BearerTransport, JWTStrategy
from fastapi_users.db import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

SECRET = os.environ["PEER_SECRET"]
engine = create_async_engine(
    os.environ["PEER_DATABASE"].replace("postgresql://", "postgresql+asyncpg://"), pool_size=10
)
new_session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class User(SQLAlchemyBaseUserTableUUID, Base):
    pass


class Manager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    reset_password_token_secret = verification_token_secret = SECRET


class Read(schemas.BaseUser[uuid.UUID]):
    pass


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as db:
        yield db


async def get_manager(db: Annotated[AsyncSession, Depends(get_session)]) -> AsyncIterator[Manager]:
    yield Manager(SQLAlchemyUserDatabase(db, User))


def strategy() -> JWTStrategy[User, uuid.UUID]:
    return JWTStrategy(secret=SECRET, lifetime_seconds=3600)


backend = AuthenticationBackend(name="jwt", transport=BearerTransport(tokenUrl="auth/login"), get_strategy=strategy)
users = FastAPIUsers[User, uuid.UUID](get_manager, [backend])


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)
app.include_router(users.get_auth_router(backend), prefix="/auth")
app.include_router(users.get_register_router(Read, schemas.BaseUserCreate), prefix="/auth")


@app.get("/users/me", response_model=Read)
async def me(user: Annotated[User, Depends(users.current_user(active=True))]) -> User:
    return user
