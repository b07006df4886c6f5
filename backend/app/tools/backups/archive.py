"""What pg_dump wrote in its custom format, as pg_restore tells it: statements, and the lines of each table."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app.core.process import CannotRun
from app.tools.postgresql import program

AT_ONCE = 1_000  # lines
WITHIN = 60  # seconds for pg_restore to end when all was read
QUIET = ("--no-owner", "--no-publications", "--no-subscriptions", "--no-security-labels")
_COPY = re.compile(r"COPY (?P<table>.+?)(?: \((?P<columns>.*)\))? FROM stdin;\n")
_NAME = re.compile(r'"((?:[^"]|"")*)"|([^",.\s]+)')
_OURS_ALONE = re.compile(r"^\\(?:un)?restrict .*\n", re.MULTILINE)  # words to psql
_NOTHING = ("\n", "--", "SET ", "SELECT pg_catalog.set_config(", "\\restrict ", "\\unrestrict ")  # no rows
_OF_OTHERS = re.compile(
    r"^COMMENT ON (?:EXTENSION|SCHEMA) .* IS '(?:[^']|'')*';\n", re.MULTILINE
)  # their owners' alone
_SET = re.compile(r"^SET (\w+) = .*;\n", re.MULTILINE)


@dataclass(frozen=True)
class Table:
    """A table with rows in the archive."""

    schema: str
    name: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Archive:
    file: Path
    version: int
    """The major version of the PostgreSQL that it is restored to. pg_restore is of that one or newer."""
    name: Path
    """What it is called when something is told of it: a draft has no name yet."""

    def check(self) -> None:
        """Read all of it.

        Raises:
            CannotRun: it is cut off or altered, or has what cannot be restored here.
        """
        with self._read("--file=-") as out:
            while out.read(1 << 20):
                pass
        with self._read("--list") as out:
            if any(re.match(rb"\d+; \d+ \d+ BLOB", line) for line in out):
                raise CannotRun(
                    f"{self.name} would have large objects, which no row tells of: take pg_dump and pg_restore"
                )

    def revision(self) -> str:
        """The revision of its schema.

        Raises:
            CannotRun: it has none.
        """
        found = ""
        for _, lines in self._rows("--data-only", "--table=alembic_version", "--file=-"):
            found = found or b"".join(line for some in lines for line in some).decode()
        if not found:
            raise CannotRun(f"{self.name} has no revision: it is no backup of this service")
        return found

    def statements(self, section: str, known: set[str], *, privileges: bool) -> str:
        """The SQL of `pre-data` or `post-data`, without settings that are not `known` to the server."""
        options = [f"--section={section}", *QUIET, *([] if privileges else ["--no-privileges"]), "--file=-"]
        with self._read(*options) as out:
            text = _OF_OTHERS.sub("", _OURS_ALONE.sub("", out.read().decode()))
        return _SET.sub(lambda found: found[0] if found[1] in known else "", text)

    def rows(self) -> Iterator[tuple[Table | str, Iterator[list[bytes]]]]:
        """Each table with its lines, some at a time, to be read before the next; and statements, as texts."""
        return self._rows("--section=data", *QUIET, "--file=-")

    def _rows(self, *options: str) -> Iterator[tuple[Table | str, Iterator[list[bytes]]]]:
        with self._read(*options) as out:
            for line in out:
                text = line.decode()
                if found := _COPY.fullmatch(text):
                    schema, name = _names(found["table"])
                    yield Table(schema, name, tuple(_names(found["columns"] or ""))), _lines(out)
                elif text.startswith("SELECT pg_catalog.setval("):
                    yield text, iter(())
                elif not text.startswith(_NOTHING):
                    raise CannotRun(f"{self.name} has rows that are no COPY: restore it with pg_restore")

    @contextmanager
    def _read(self, *options: str) -> Iterator[IO[bytes]]:
        """What pg_restore says; that it ended well is asked when all was read."""
        command = [str(program("pg_restore", self.version, newest=True)), *options, str(self.file)]
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as running,  # noqa: S603 - a program of PostgreSQL's
        ):
            assert running.stdout is not None
            try:
                yield running.stdout
                running.stdout.read()
            except BaseException:
                running.kill()
                raise
            if running.wait(WITHIN) != 0:
                errors.seek(0)
                raise CannotRun(f"{self.name} cannot be read: {errors.read().decode(errors='replace').strip()}")


def _names(text: str) -> list[str]:
    """Names as they are, of those that are parted by points or commas, some of them quoted."""
    return [quoted.replace('""', '"') or plain for quoted, plain in _NAME.findall(text)]


def _lines(out: IO[bytes]) -> Iterator[list[bytes]]:
    """The lines of a table up to the one that ends it, without their ends."""
    some: list[bytes] = []
    for line in out:
        if line == b"\\.\n":
            break
        some.append(line[:-1])
        if len(some) == AT_ONCE:
            yield some
            some = []
    else:
        raise CannotRun("the backup ends within a table")
    if some:
        yield some
