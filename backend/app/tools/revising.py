"""A new migration, from what the models say and the migrations do not: `neoforge db revision`."""

import re
import subprocess
import sysconfig
import tempfile
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import alembic.command
import sqlalchemy as sa
from alembic.operations import ops
from alembic.script import ScriptDirectory

from app.core.process import CannotRun
from app.tools import enums, migrate
from app.tools.narrowing import akin, destructive, told
from app.tools.recording import record

NAMED = "%%(year)d%%(month).2d%%(day).2d_%%(rev)s_%%(slug)s"
UNFILLED = "(say what brings back what this takes away: a backup, another table; or that nothing does)"
LONGEST = 100  # characters of the words, which are the first line of the file
_REMARK = re.compile(r"^    # ###.*\n", re.MULTILINE)
Hook = Callable[[Any, Any, list[ops.MigrationScript]], None]


def write(words: str, *, empty: bool, may_destroy: bool, configured: bool) -> tuple[Path, bool]:
    """Write the migration that is missing; its file, and whether it has the project's form.

    Compared with the models is a SQLite database that is made for it by the migrations, or the `configured` one.

    Raises:
        CannotRun: nothing is missing and not `empty`, or something would be destroyed and not `may_destroy`.
    """
    if not words.strip() or len(words) > LONGEST or not words.isprintable() or '"""' in words or "\\" in words:
        raise CannotRun(f"-m is one line of at most {LONGEST} characters, without a backslash or three quotes")
    with tempfile.TemporaryDirectory(prefix="neoforge-revision-") as folder:
        url = None if configured else f"sqlite:///{folder}/migrated.db"
        if not configured:
            migrate.upgrade(url)
        made = migrate.config(url)
        made.cmd_opts = Namespace(quiet=True)
        made.set_main_option("file_template", NAMED)
        hook = partial(_settle, made.attributes, empty, may_destroy)
        file = _made(made, words, hook)
    file.write_text(_REMARK.sub("", file.read_text()))
    return file, _format(file)


def _made(made: Any, words: str, hook: Hook) -> Path:
    files: list[Path] = []

    def run() -> None:
        script: Any = alembic.command.revision(
            made, words, autogenerate=True, rev_id=_next(), process_revision_directives=hook
        )
        files.append(Path(script.path))

    try:
        migrate.apart(run)
    except PermissionError as error:
        raise CannotRun(f"{error.filename} may not be written: write migrations where the sources are") from None
    return files[0]


def _next() -> str:
    """One more than the highest number so far, in four digits."""
    scripts = ScriptDirectory.from_config(migrate.config())
    numbers = [int(script.revision) for script in scripts.walk_revisions() if script.revision.isdigit()]
    return f"{max(numbers, default=0) + 1:04}"


def _settle(
    told: dict[str, Any], empty: bool, may_destroy: bool, _: Any, __: Any, scripts: list[ops.MigrationScript]
) -> None:
    """Refuse what was not asked for; else complete it."""
    up, down = scripts[0].upgrade_ops, scripts[0].downgrade_ops
    if up is None or down is None:
        raise RuntimeError("a revision without operations")
    if up.is_empty() and not empty:
        raise CannotRun(
            "the models and the migrations say the same: there is nothing to write (a table is a class with "
            "table=True in app/models; --empty writes one to fill by hand)"
        )
    _write_types_as_before(up, down)
    _refuse_enumerations(up)
    found = list(destructive(up))
    if found and not may_destroy:
        raise CannotRun(
            f"this would destroy: {'; '.join(found)}. --destructive writes it all the same, with a paragraph "
            "Rollback: for you to fill. A renamed column or table is a drop and an addition here: write it by hand"
        )
    if found:
        told["rollback"] = f"\n\nRollback: {UNFILLED}\n"
    _leave_indexes_to_their_tables(up)
    enums.complete(up, down)
    enums.complete(down, up)


def _write_types_as_before(up: ops.UpgradeOps, down: ops.DowngradeOps) -> None:
    """What was there keeps the types that the migrations gave it: SQLite tells CHAR(32) of a UUID."""
    scripts = ScriptDirectory.from_config(migrate.config())
    upgrades = [script.module.upgrade for script in scripts.walk_revisions()]
    types = record(reversed(upgrades)).types
    for table, column in (*enums.created(down), *enums.added(down)):
        column.type = types.get((table, column.name), column.type)
    for op in enums.altered(up):
        op.existing_type = types.get((op.table_name, op.column_name), op.existing_type)
        _cast(op, op.existing_type)
    for op in enums.altered(down):
        if op.modify_type is not None:
            op.modify_type = types.get((op.table_name, op.column_name), op.modify_type)
            _cast(op, op.existing_type)


def _refuse_enumerations(up: ops.UpgradeOps) -> None:
    """An enumeration with other values is the same type by its name, which no ALTER COLUMN changes."""
    for op in enums.altered(up):
        old, new = op.existing_type, op.modify_type
        if isinstance(old, sa.Enum) and isinstance(new, sa.Enum) and old.name == new.name:
            more = [value for value in new.enums if value not in old.enums]
            raise CannotRun(
                f"the values of {new.name} have changed at {op.table_name}.{op.column_name} "
                f"(new: {', '.join(more) or 'none'}): "
                f"write that by hand into an --empty one, as ALTER TYPE {enums.quoted(str(new.name))} ADD VALUE '…' on "
                "PostgreSQL and op.batch_alter_table on SQLite"
            )


def _cast(op: ops.AlterColumnOp, old: Any) -> None:
    """Say how PostgreSQL makes values of another kind of type; it does that by itself for few."""
    if op.modify_type is not None and not akin(old, op.modify_type):
        op.kw["postgresql_using"] = f"{enums.quoted(op.column_name)}::{told(op.modify_type)}"


def _leave_indexes_to_their_tables(up: ops.UpgradeOps) -> None:
    """A table that is dropped takes its indexes with it."""
    gone = {op.table_name for op in up.ops if isinstance(op, ops.DropTableOp)}
    up.ops[:] = [op for op in up.ops if not (isinstance(op, ops.ModifyTableOps) and op.table_name in gone)]


def _format(file: Path) -> bool:
    """Put the file into the project's form, where ruff is there."""
    ruff = Path(sysconfig.get_path("scripts")) / "ruff"
    if not ruff.is_file():
        return False
    for verb in (["check", "--fix-only"], ["format"]):
        subprocess.run([ruff, *verb, "--quiet", file], cwd=migrate.BACKEND, check=True, timeout=60)  # noqa: S603 - the file is our own
    return True
