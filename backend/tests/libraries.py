"""The libraries that the application imports: a second of each process that starts, and the same in all of them."""

import gc
import importlib
import re

from tests.services import BACKEND

ONE_LINE = re.compile(r"^from ([\w.]+) import ([\w ,]+)$", re.MULTILINE)  # some load a name once it is asked for
ANY = re.compile(r"^(?:from|import) ([\w.]+)", re.MULTILINE)


def import_libraries(*others: str) -> None:
    """Import them all, with `others`, and nothing of the application: a fork of this process has them already."""
    sources = [file.read_text() for file in (BACKEND / "app").rglob("*.py")]
    for name in sorted({name for source in sources for name in ANY.findall(source) if not _ours(name)}.union(others)):
        importlib.import_module(name)
    for module, names in sorted({found for source in sources for found in ONE_LINE.findall(source)}):
        if not _ours(module):
            exec(f"from {module} import {names}", {})
    gc.freeze()  # a fork that collects garbage need not look at them


def _ours(name: str) -> bool:
    return name.partition(".")[0] == "app"
