"""The pages of docs/how-to/, whose commands run as they stand there.

A page is made of fenced blocks, each of one of these kinds:

- `sh` is run, in order, each in a shell of its own (`sh -eu`) and all in one folder. In it lies the backend's code as
  `backend/`, `neoforge` is on the PATH, and DATABASE_URL names a migrated database.
- `output` is what the block before it prints on standard output; a line of `…` stands for any lines, and `…` within a
  line for any part of it.
- `python` begins with the comment `# backend/…`, and is written to that file.
- `text` is only looked at: what cannot be run here.

What a reader would put in place of a name in the page, the test does, too.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.services import BACKEND

HOW_TO = BACKEND.parent / "docs" / "how-to"
KINDS = ("sh", "output", "python", "text")
WITHIN = 120  # s; a block that takes longer fails
_FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>.*)$")


class Wrong(AssertionError):
    """A page that does not hold. The message begins with its name and line."""


@dataclass(frozen=True)
class Block:
    where: str
    kind: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """
    Raises:
        Wrong: one is of no kind that is run or looked at, or stands where it may not.
    """
    kind = before = where = ""
    lines: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if fence is None:
            lines.append(line)
        elif kind:
            yield Block(where, kind, "".join(f"{one}\n" for one in lines))
            kind, before = "", kind
        else:
            kind, where, lines = fence["kind"].strip(), f"{page.name}:{number}", []
            if kind not in KINDS:
                raise Wrong(f"{where}: a block of kind {kind!r} is not run; the kinds are {', '.join(KINDS)}")
            if kind == "output" and before != "sh":
                raise Wrong(f"{where}: this output is of no block that is run")
    if kind:
        raise Wrong(f"{where}: this block does not end")


class Reader:
    """Follows a page in a folder of its own. `names`: what stands for a name of the page, made anew in each block."""

    def __init__(self, folder: Path, env: Mapping[str, str], names: Mapping[str, Callable[[], str]]) -> None:
        self.folder, self._names, self._printed = folder, names, ""
        backend, commands = folder / "backend", folder / "bin"
        for part in ("app", "alembic"):
            shutil.copytree(BACKEND / part, backend / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(BACKEND / "alembic.ini", backend)
        commands.mkdir()
        command = commands / "neoforge"
        command.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c 'from app.cli import main; main()' \"$@\"\n")
        command.chmod(0o755)
        path = f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._env = {**os.environ, **env, "PYTHONPATH": str(backend), "PATH": path}

    def follow(self, page: Path) -> int:
        """Do all that the page says; the number of blocks that were run.

        Raises:
            Wrong: a block fails, or prints something else.
        """
        count = 0
        for block in list(blocks(page)):
            if block.kind == "sh":
                self._run(block)
                count += 1
            elif block.kind == "output":
                self._compare(block)
            elif block.kind == "python":
                self._write(block)
        return count

    def _said(self, block: Block) -> str:
        text = block.text
        for name, make in self._names.items():
            if name in text:
                text = text.replace(name, make())
        return text

    def _run(self, block: Block) -> None:
        command = ["sh", "-eu", "-c", self._said(block)]
        done = subprocess.run(
            command, cwd=self.folder, env=self._env, capture_output=True, text=True, timeout=WITHIN, check=False
        )
        if done.returncode:
            raise Wrong(f"{block.where}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        self._printed = done.stdout

    def _compare(self, block: Block) -> None:
        if not re.fullmatch(_pattern(block.text), self._printed):
            raise Wrong(f"{block.where}: it prints\n{self._printed}")

    def _write(self, block: Block) -> None:
        first, _, _ = block.text.partition("\n")
        file = (self.folder / first.removeprefix("# ")).resolve()
        if not first.startswith("# backend/") or not file.is_relative_to(self.folder.resolve()):
            raise Wrong(
                f"{block.where}: a block of Python begins with the file that it is, as in # backend/app/main.py"
            )
        file.write_text(self._said(block))


def _pattern(shown: str) -> str:
    lines = ["(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + "\n" for line in shown.splitlines()]
    return "".join(lines)
