"""The migrations with revisions of a test's own after the newest, in a folder of its own.

As a process, `python -m tests.trees FOLDER URL COMMAND REVISION`, it stops for ever after its statement STOP_AFTER
(1-based, 0 is never), having written that to the file STOPPED: to be killed there.
"""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import alembic.command
from alembic.config import Config
from sqlalchemy import event
from sqlalchemy.engine import Engine

from app.tools import migrate
from tests.processes import launch
from tests.services import BACKEND

HEAD = """\
import sqlalchemy as sa
from alembic import op

from app.tools import online

revision = {revision!r}
down_revision = {before!r}
"""
EXPAND, INDEX, BACKFILL, CONTRACT = "9001", "9002", "9003", "9004"
EXAMPLE = {
    EXPAND: (
        'op.add_column("users", sa.Column("time_zone", sa.String(64)))',
        'op.drop_column("users", "time_zone")',
    ),
    INDEX: (
        'online.create_index("ix_users_time_zone", "users", ["time_zone"])',
        'online.drop_index("ix_users_time_zone", "users")',
    ),
    BACKFILL: (
        """online.backfill("users", "time_zone = 'UTC'", where="time_zone IS NULL", batch={batch})""",
        "pass",
    ),
    CONTRACT: (
        """online.backfill("users", "time_zone = 'UTC'", where="time_zone IS NULL", batch={batch})
online.require_value("users", "time_zone", sa.String(64))""",
        """with op.batch_alter_table("users") as users:
    users.alter_column("time_zone", existing_type=sa.String(64), nullable=True)""",
    ),
}
"""A column that every account is to have, in the expand/contract way: what goes up, and what goes down."""


class Tree:
    """A copy of the migrations that may be added to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.newest = folder, migrate.head()
        shutil.copytree(BACKEND / "alembic", folder, ignore=shutil.ignore_patterns("__pycache__"))

    def add(self, revision: str, up: str, down: str = "pass") -> None:
        """A revision after the newest, of these statements."""
        head = HEAD.format(revision=revision, before=self.newest)
        bodies = [
            f"def {name}():\n{textwrap.indent(body, '    ')}\n" for name, body in (("upgrade", up), ("downgrade", down))
        ]
        (self.folder / "versions" / f"{revision}.py").write_text("\n\n".join([head, *bodies]))
        self.newest = revision

    def add_example(self, batch: int = 500) -> None:
        for revision, (up, down) in EXAMPLE.items():
            self.add(revision, up.format(batch=batch), down)

    def upgrade(self, url: str, revision: str = "head") -> None:
        migrate.apart(lambda: alembic.command.upgrade(config(self.folder, url), revision))

    def downgrade(self, url: str, revision: str) -> None:
        migrate.apart(lambda: alembic.command.downgrade(config(self.folder, url), revision))

    def start(
        self, log: Path, url: str, command: str = "upgrade", revision: str = "head", **env: str
    ) -> "subprocess.Popen[bytes]":
        """The same as a process."""
        run = [sys.executable, "-m", "tests.trees", str(self.folder), url, command, revision]
        known = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}
        return launch(run, log, env={**known, **env}, cwd=BACKEND)


def config(folder: Path, url: str) -> Config:
    made = migrate.config(url)
    made.set_main_option("script_location", str(folder))
    return made


def _stop_after(statement: int, told: Path) -> Callable[..., None]:
    number = count(1)

    def noted(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        if next(number) == statement:
            told.write_text(sql)
            signal.pause()

    return noted


if __name__ == "__main__":
    tree, database, verb, aim = sys.argv[1:]
    if stop := int(os.environ.get("STOP_AFTER", "0")):
        event.listen(Engine, "after_cursor_execute", _stop_after(stop, Path(os.environ["STOPPED"])))
    getattr(alembic.command, verb)(config(Path(tree), database), aim)
