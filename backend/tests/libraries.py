"""The libraries that the application imports: a second of each process that starts, and the same in all of them."""

import gc
import importlib
import re

from tests.services import BACKEND


def import_libraries() -> None:
    """Import them all, and nothing of the application: a fork of this process has them already."""
    sources = [file.read_text() for file in (BACKEND / "app").rglob("*.py")]
    named = {name for source in sources for name in re.findall(r"^(?:from|import) ([\w.]+)", source, re.MULTILINE)}
    for name in sorted(named):
        if name.partition(".")[0] != "app":
            importlib.import_module(name)
    gc.freeze()  # a fork that collects garbage need not look at them
