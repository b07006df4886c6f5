"""The two ends of a copy: what each engine can, in the same words."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.engine import make_url

from app.core.process import CannotRun
from app.tools.copying import postgresql_source, postgresql_target, sqlite_source, sqlite_target
from app.tools.copying.lines import Lines
from app.tools.copying.unfit import Unfit


class Rows(Protocol):
    """A database that is read."""

    name: str
    """Where it is, without who asks for it."""

    async def revision(self) -> str | None: ...

    async def columns(self) -> dict[str, set[str]]: ...

    async def high_water(self, table: Lines) -> int: ...

    async def number(self, table: Lines) -> int: ...

    async def filled(self, table: Lines) -> dict[str, int]: ...

    def lines(self, table: Lines) -> AsyncIterator[list[bytes]]: ...


class Source(Rows, Protocol):
    """What is copied: one snapshot, without what is left out."""

    def unfit(self) -> AsyncIterator[Unfit]: ...

    def leave_out(self) -> AsyncIterator[tuple[Unfit, dict[str, Any]]]: ...


class Target(Rows, Protocol):
    """What is filled."""

    def transaction(self) -> AbstractAsyncContextManager[object]: ...

    async def lock(self, tables: Sequence[Lines]) -> None: ...

    async def take_apart(self, tables: Sequence[Lines]) -> list[str]: ...

    async def empty(self, table: Lines) -> None: ...

    async def fill(self, table: Lines, chunks: AsyncIterator[Sequence[bytes]]) -> None: ...

    async def put_together(
        self, statements: Sequence[str], tables: Sequence[Lines], given: Mapping[str, int]
    ) -> None: ...


@asynccontextmanager
async def source(url: str) -> AsyncIterator[Source]:
    """The database at `url` as it is now.

    Raises:
        CannotRun: it is not there, or cannot be read.
    """
    if (file := sqlite_file(url)) is None:
        async with postgresql_source.snapshot(url) as found:
            yield found
    else:
        with sqlite_source.snapshot(file) as read:
            yield read


@asynccontextmanager
async def target(url: str) -> AsyncIterator[Target]:
    """The database at `url`. A SQLite file that is not there yet is made, for its owner alone.

    Raises:
        CannotRun: it is not there, or cannot be written.
    """
    if (file := sqlite_file(url)) is None:
        async with postgresql_target.connected(url) as found:
            yield found
    else:
        make(file)
        async with sqlite_target.connected(file) as written:
            yield written


def sqlite_file(url: str) -> Path | None:
    """Where the database at `url` is, if it is one of SQLite."""
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.drivername.startswith("sqlite") else None


def make(file: Path) -> None:
    """An empty file, where there is none.

    Raises:
        CannotRun: its folder is not there, or may not be written.
    """
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError as error:
        raise CannotRun(f"{file} cannot be written: {error.strerror}") from None
