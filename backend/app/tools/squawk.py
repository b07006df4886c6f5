"""squawk, the linter of PostgreSQL's migrations, where it is installed: a program of the development environment."""

import json
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from app.core.process import CannotRun

OLDEST = "15.0"  # the PostgreSQL that migrations have to run on
NOT_ASKED = (
    # what our own rules tell, with our own advice (lint_rules.py)
    "adding-field-with-default",
    "adding-foreign-key-constraint",
    "adding-not-nullable-field",
    "adding-required-field",
    "ban-drop-column",
    "ban-drop-table",
    "ban-drop-type",
    "changing-column-type",
    "constraint-missing-not-valid",
    "disallowed-unique-constraint",
    "require-concurrent-index-creation",
    # the models' types, which are the same on SQLite
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-text-field",
    "prefer-timestamp-tz",
    # a revision that is recorded does not run twice; time limits are alembic/env.py's
    "prefer-robust-stmts",
    "require-lock-timeout",
    "require-statement-timeout",
    "require-timeout-settings",
)
WITHIN = 60  # seconds


@cache
def program() -> Path | None:
    """Where it is."""
    ours = Path(sysconfig.get_path("scripts")) / "squawk"
    found = str(ours) if ours.is_file() else shutil.which("squawk")
    return Path(found) if found else None


def broken(statements: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The rules of squawk that these statements break in one transaction. Nothing where it is not installed.

    Raises:
        CannotRun: it gave no answer.
    """
    found = program()
    if found is None or not statements:
        return
    with tempfile.TemporaryDirectory(prefix="neoforge-lint-") as folder:
        file = Path(folder) / "migration.sql"
        file.write_text("".join(f"{one};\n" for one in ("BEGIN", *statements, "COMMIT")))
        excluded = f"--exclude={','.join(NOT_ASKED)}"
        command = [str(found), "--reporter=json", f"--pg-version={OLDEST}", excluded, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN, check=False, cwd=folder)  # noqa: S603 - the file is our own
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise CannotRun(f"squawk gave no answer: {done.stderr.strip() or done.returncode}") from None
    for one in answer:
        yield one["rule_name"], f"{one['message']} {one['help'] or ''}".strip()
