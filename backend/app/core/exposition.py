"""The metrics as Prometheus reads them: of this process, or of all that share its folder."""

import os
from pathlib import Path

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, REGISTRY, CollectorRegistry, generate_latest, openmetrics
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from app.core.metrics_folder import VARIABLE

OPENMETRICS = "application/openmetrics-text"
ENDED = "0"  # in place of a process's number: of all that have ended


def exposition(accept: str) -> tuple[bytes, str]:
    """All metrics and their content type: Prometheus text, or OpenMetrics where `accept` asks for it."""
    registry = REGISTRY
    if VARIABLE in os.environ:  # several processes: their files are added up
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library has not typed it
    if OPENMETRICS in accept:
        content: bytes = openmetrics.exposition.generate_latest(registry)  # type: ignore[no-untyped-call]  # not typed by it
        return content, openmetrics.exposition.CONTENT_TYPE_LATEST
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


def fold_ended() -> None:
    """Add what ended processes counted to one file, so that theirs do not pile up. Nobody may read them meanwhile."""
    if VARIABLE not in os.environ:
        return
    for file in Path(os.environ[VARIABLE]).glob("*_*.db"):
        kind, _, pid = file.stem.rpartition("_")
        if pid == ENDED or _lives(int(pid)):
            continue
        if not kind.startswith("gauge"):  # what a process that has ended measured is not so any more
            _add(file, file.with_name(f"{kind}_{ENDED}.db"))
        file.unlink()


def _add(file: Path, to: Path) -> None:
    total = MmapedDict(str(to))  # type: ignore[no-untyped-call]  # the library has not typed it
    for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]  # as above
        before, _ = total.read_value(key)  # type: ignore[no-untyped-call]  # as above
        total.write_value(key, before + value, timestamp)  # type: ignore[no-untyped-call]  # as above
    total.close()  # type: ignore[no-untyped-call]  # as above


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's: the number was given anew
        return False
    return True
