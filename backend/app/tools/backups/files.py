"""The file that a backup is written to: there whole and safe on the disk, or not there."""

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.core.process import CannotRun

SQLITE, POSTGRESQL = b"SQLite format 3\0", b"PGDMP"  # what the files of each begin with


@contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """A draft that only its owner may read, which gets the name `file` when the block ends well, and else goes.

    Raises:
        CannotRun: `file` is there already, or cannot be made or written.
    """
    refusal = CannotRun(f"{file} is there already: name a new file")
    if os.path.lexists(file):
        raise refusal
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise CannotRun(f"{file} cannot be written: {error.strerror}") from None
    try:
        yield draft
        _to_disk(draft)
        os.link(draft, file)  # unlike a rename it replaces nothing that came meanwhile
    except FileExistsError:
        raise refusal from None
    except (OSError, sqlite3.Error) as error:  # as when the disk is full
        raise CannotRun(f"{file} cannot be written: {error}") from None
    finally:
        for part in ("", "-journal", "-wal", "-shm"):  # SQLite's
            draft.with_name(draft.name + part).unlink(missing_ok=True)
    _to_disk(file.parent)


def make_private(file: Path) -> None:
    """An empty file for its owner alone, where there is none and one can be made."""
    with suppress(OSError):
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def kind_of(file: Path) -> bytes:
    """What `file` is: SQLITE or POSTGRESQL.

    Raises:
        CannotRun: neither, or not to be read.
    """
    try:
        with file.open("rb") as opened:
            begin = opened.read(len(SQLITE))
    except OSError as error:
        raise CannotRun(f"{file} cannot be read: {error.strerror}") from None
    for kind in (SQLITE, POSTGRESQL):
        if begin.startswith(kind):
            return kind
    raise CannotRun(f"{file} is no backup: neither of SQLite nor of PostgreSQL (pg_dump's custom format)")


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
