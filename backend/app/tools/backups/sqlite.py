"""SQLite: one moment of a database in use as a file, and a file put in the place of a database, whole or not at all."""

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from app.core.process import CannotRun
from app.tools.backups.files import make_private, new_file
from app.tools.digest import Digest

BUSY = 15.0  # seconds that it waits for who writes
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
Digests = dict[str, Digest]


def backup(source: Path, file: Path) -> str:
    """Copy the database to the new file `file` and check it there. Answers its revision.

    Raises:
        CannotRun: there is no database, or no such file can be made, or the copy is not sound.
    """
    with new_file(file) as draft:
        _snapshot(source, draft)
        return look(draft)


def restore(file: Path, target: Path) -> Digests:
    """Put the content of `file` in the place of all that `target` has. Answers what was put there, by table.

    What `target` has is kept in a file beside it until every row was compared.

    Raises:
        CannotRun: it did not work, and `target` has what it had; or the message names the file that has it.
    """
    kept = target.with_name(f"{target.name}.before-restore-{secrets.token_hex(4)}")
    wanted, is_new = digests(file), not target.exists()
    if not is_new:
        with new_file(kept) as draft:
            _snapshot(target, draft)
    make_private(target)
    before = {} if is_new else digests(kept)
    try:
        _copy(file, target)
        if digests(target) != wanted:
            raise CannotRun("what was restored is not what the backup has")
    except (CannotRun, sqlite3.Error) as error:
        _put_back(kept, before, target)
        raise CannotRun(f"{error}: the database has what it had before") from None
    kept.unlink(missing_ok=True)
    return wanted


def _put_back(kept: Path, before: Digests, target: Path) -> None:
    """Have `target` be again what it was."""
    if not before:
        for part in ("", "-wal", "-shm", "-journal"):
            target.with_name(target.name + part).unlink(missing_ok=True)
        return
    try:
        if digests(target) != before:
            _copy(kept, target)
    except (CannotRun, sqlite3.Error) as error:
        raise CannotRun(f"{error}: what the database had stands in {kept}") from None
    kept.unlink()


def empty(target: Path) -> None:
    """Take everything out of the database.

    Raises:
        CannotRun: somebody writes it without end.
    """
    with closing(sqlite3.connect(":memory:")) as nothing:
        _into(nothing, target)


def look(file: Path) -> str:
    """The revision of a database whose every page and index is sound; empty where it has no table.

    Raises:
        CannotRun: it is not sound, or not one of this service.
    """
    try:
        with _reading(file) as connection:
            faults = [row[0] for row in connection.execute("PRAGMA integrity_check(3)") if row[0] != "ok"]
            tables = {row[0] for row in connection.execute(_TABLES)}
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone() if tables else ("",)
    except sqlite3.Error as error:
        raise CannotRun(f"{file} is damaged, or no database of this service: {error}") from None
    if faults:
        raise CannotRun(f"{file} is damaged: {'; '.join(faults)}")
    return str(found[0]) if found else ""


def has_tables(file: Path) -> bool:
    """Whether anything is there.

    Raises:
        CannotRun: it is no SQLite database.
    """
    if not file.exists():
        return False
    try:
        with _reading(file) as connection:
            return connection.execute(_TABLES).fetchone() is not None
    except sqlite3.Error as error:
        raise CannotRun(f"{file} cannot be read as a SQLite database: {error}") from None


def digests(file: Path) -> Digests:
    """What each table's rows come to, rows as SQLite's own text of their values."""
    found: Digests = {}
    with _reading(file) as connection:
        connection.execute("BEGIN")
        for (table,) in connection.execute(_TABLES).fetchall():
            name = '"' + table.replace('"', '""') + '"'
            columns = connection.execute(f"SELECT * FROM {name} LIMIT 0").description  # noqa: S608 - quoted names
            said = " || ',' || ".join('quote("' + one[0].replace('"', '""') + '")' for one in columns)
            found[table] = Digest()
            rows = connection.execute(f"SELECT CAST({said} AS BLOB) FROM {name}")  # noqa: S608 - quoted names
            found[table].add(bytes(row[0]) for row in rows)
    return found


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    if not file.is_file():
        raise CannotRun(f"there is no SQLite database {file}")
    url = f"file:{quote(str(file.resolve()))}?mode=ro"
    with closing(sqlite3.connect(url, uri=True, timeout=BUSY, isolation_level=None)) as connection:
        yield connection


def _snapshot(source: Path, draft: Path) -> None:
    _copy(source, draft)
    with closing(sqlite3.connect(draft)) as copied:
        copied.execute("PRAGMA journal_mode = DELETE")  # so that it is one file


def _copy(source: Path, target: Path) -> None:
    with _reading(source) as connection:
        _into(connection, target)


def _into(source: sqlite3.Connection, target: Path) -> None:
    """Write one moment of `source` over `target` in one transaction, beside whoever reads it."""
    last, since = (-1, -1), time.monotonic()

    def bounded(_: int, left: int, total: int) -> None:
        nonlocal last, since
        if (left, total) != last:
            last, since = (left, total), time.monotonic()
        elif time.monotonic() - since > BUSY:  # the driver itself would try without end
            raise CannotRun(f"{target} is being written all the time: stop the API, workers and scheduler")

    with closing(sqlite3.connect(target, timeout=BUSY, isolation_level=None)) as written:
        source.backup(written, progress=bounded)
