"""Where the rows go that a copy leaves out."""

import os
from pathlib import Path
from typing import TextIO

from app.core.process import CannotRun
from app.tools.copying.ends import Source


async def set_aside(source: Source, quarantine: Path | None) -> int:
    """Leave out what does not fit, and write it down. How many rows that is."""
    if quarantine is None:
        async for one in source.unfit():
            raise CannotRun(
                f"{one.table} {one.key}: {one.reason}; --dry-run tells every such row, --quarantine sets them aside"
            )
        return 0
    number = 0
    try:
        with new_file(quarantine) as file:
            async for one, values in source.leave_out():
                file.write(one.json(row=values) + "\n")
                number += 1
    except OSError as error:
        os.unlink(quarantine)  # noqa: PTH108 - nothing that blocks for long
        raise CannotRun(f"{quarantine} cannot be written: {error.strerror}") from None
    return number


def new_file(file: Path) -> TextIO:
    """A file for its owner alone.

    Raises:
        CannotRun: it is there already, or cannot be made.
    """
    try:
        return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
    except FileExistsError:
        raise CannotRun(f"{file} is there already: name another file") from None
    except OSError as error:
        raise CannotRun(f"{file} cannot be written: {error.strerror}") from None
