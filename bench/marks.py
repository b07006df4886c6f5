"""How a task says that its body began, at the price of a memory write: a file a process, with a count and a time."""

import asyncio
import mmap
import os
import struct
import time
from functools import lru_cache
from pathlib import Path

_CELL = struct.Struct("<qq")  # bodies begun so far, and when the last one began, in ns since 1970


@lru_cache(maxsize=1)
def _page(process: int) -> mmap.mmap:
    file = Path(os.environ["BENCH_MARKS"]) / str(process)
    file.write_bytes(bytes(_CELL.size))
    with file.open("r+b") as opened:
        return mmap.mmap(opened.fileno(), _CELL.size)


def mark() -> None:
    page = _page(os.getpid())
    _CELL.pack_into(page, 0, _CELL.unpack_from(page)[0] + 1, time.time_ns())


def read(folder: Path) -> tuple[int, int]:
    """How many bodies have begun in all processes, and when the last one did."""
    cells = [_CELL.unpack(data) for file in folder.iterdir() if len(data := file.read_bytes()) == _CELL.size]
    return sum(count for count, _ in cells), max((at for _, at in cells), default=0)


async def started(folder: Path, before: int) -> int:
    """When the next body after so many began, in ns."""
    async with asyncio.timeout(60):
        while True:
            count, at = read(folder)
            if count > before:
                return at
            await asyncio.sleep(0.002)
