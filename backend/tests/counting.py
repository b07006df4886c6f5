"""What a request costs: the statements that reach the database, and the Argon2 computations."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import event

from app.core import security
from app.core.db import engine
from app.core.direct import Direct


def _is_beside(statement: str) -> bool:
    """Whether nobody knows when it comes: what goes on beside requests, and which key signs, once a second."""
    if "FROM installation" in statement:
        return True
    try:
        task = asyncio.current_task()
    except RuntimeError:  # in no loop
        return False
    return task is not None and getattr(task.get_coro(), "__qualname__", "") in ("_guard", "follow")


@contextmanager
def statements() -> Iterator[list[str]]:
    """What reaches the database for requests; the feed has a connection of its own."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not _is_beside(statement):
            found.append(statement)

    run = Direct.all

    async def noted(self: Direct, *args: Any, **values: Any) -> Any:
        found.append(self.sql)
        return await run(self, *args, **values)

    event.listen(engine().sync_engine, "before_cursor_execute", note)
    Direct.all = noted  # type: ignore[method-assign]  # what goes past SQLAlchemy counts too
    try:
        yield found
    finally:
        Direct.all = run  # type: ignore[method-assign]  # as it was
        event.remove(engine().sync_engine, "before_cursor_execute", note)


@dataclass
class Work:
    statements: list[str] = field(default_factory=list)
    """The first words of each: what is done to which table."""
    hashes: list[str] = field(default_factory=list)
    """`hash` or `verify`, with the parameters that its time depends on."""


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    """Count what this process does inside the block."""
    work = Work()

    class Counting(Argon2Hasher):
        def hash(self, password: Any, *, salt: bytes | None = None) -> str:
            made = super().hash(password, salt=salt)
            work.hashes.append("hash " + made.rsplit("$", 2)[0])
            return made

        def verify(self, password: Any, hash: Any) -> bool:  # noqa: A002 - the library's name
            work.hashes.append("verify " + str(hash).rsplit("$", 2)[0])
            return super().verify(password, hash)

    with statements() as asked, monkeypatch.context() as patched:
        hasher = Counting(memory_cost=19_456, time_cost=2, parallelism=1)
        patched.setattr(security, "_hasher", PasswordHash((hasher,)))
        yield work
    work.statements = [" ".join(statement.split()[:4]) for statement in asked]
