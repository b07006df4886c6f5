"""Where the processes of one service add up their metrics. The library reads it when it is imported."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def metrics_folder() -> Iterator[None]:
    """A fresh private folder through which the processes add up their metrics; named before their import."""
    folder = tempfile.mkdtemp(prefix="neoforge-metrics-")
    os.environ[VARIABLE] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
