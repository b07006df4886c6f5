"""Chores on keys, each in one transaction."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db import dispose, new_session
from app.core.logging import set_up
from app.core.process import CannotRun
from app.core.secret_check import DIFFERS, matches
from app.services import key_ring

Answer = TypeVar("Answer")


def rotate(*, at_once: bool) -> str:
    """Turn the ring; the name of the key that signs now.

    Raises:
        CannotRun: it is too early, or this is not the installation's secret.
    """

    async def turn(db: AsyncSession) -> str:
        try:
            return await key_ring.rotate(db, at_once=at_once)
        except key_ring.TooEarly as error:
            raise CannotRun(str(error)) from None

    return _run(turn)


def listing() -> list[tuple[int, str, str]]:
    """Number, name and state of every key in use.

    Raises:
        CannotRun: this is not the installation's secret.
    """
    return _run(key_ring.listing)


def adopt_secret() -> bool:
    """Go on with this process's secret. False when it is the installation's already."""

    async def adopt() -> bool:
        try:
            if await matches():
                return False
            async with new_session() as db:
                await key_ring.adopt_secret(db)
                await db.commit()
            return True
        finally:
            await dispose()

    set_up("command")
    return asyncio.run(adopt())


def _run(work: Callable[[AsyncSession], Awaitable[Answer]]) -> Answer:
    async def once() -> Answer:
        try:
            if not await matches():
                raise CannotRun(DIFFERS)
            async with new_session() as db:
                answer = await work(db)
                await db.commit()
            return answer
        finally:
            await dispose()

    set_up("command")
    return asyncio.run(once())
