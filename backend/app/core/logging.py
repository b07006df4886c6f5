"""Logging, set up once a process: structlog and the standard library write the same redacted lines to stderr."""

import asyncio
import atexit
import logging
import re
import sys
from contextlib import suppress
from functools import partial
from json import JSONEncoder
from typing import Any, TextIO, cast

import structlog
from structlog.typing import Processor

from app.core.config import settings
from app.core.redaction import redact

QUIET = (
    "uvicorn.access",
    "mail.log",
    "asyncio",
    "aiosqlite",
    "watchfiles",
    "httpx2",
    "httpcore2",
    "python_multipart",
    "alembic.runtime.plugins",
)
"""Loggers that say nothing below WARNING: the access log is our own, the rest is their debugging."""
OURS_TO_HANDLE = (
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "celery",
    "celery.task",
    "celery.worker",
    "sqlalchemy",
    "sqlalchemy.engine",
    "alembic",
    "py.warnings",
)
"""Loggers whose own handlers go, so that every line passes through the redaction."""

_TRACEBACKS = frozenset({"exception", "stack"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_IN_TRACEBACK = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class StandardError:
    """Standard error as it is at the moment. A line that cannot be written is no reason to fail what it tells of."""

    def write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
        except UnicodeEncodeError:  # a lone surrogate
            self.write(text.encode("ascii", "backslashreplace").decode())
        except (OSError, ValueError):  # a full disk, a reader that has gone, or closed
            pass

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


class Together(StandardError):
    """Writes the lines of one turn of the event loop at once: under load, a call of the system for twenty of them."""

    MOST = 1_000

    def __init__(self) -> None:
        self._lines: list[str] = []
        atexit.register(self.write)

    def write(self, text: str = "") -> None:
        """At once, after the lines that wait: a warning is not lost with the process that gives it."""
        lines, self._lines = self._lines, []
        super().write("".join([*lines, text]))

    def write_soon(self, text: str) -> None:
        self._lines.append(text)
        if len(self._lines) > self.MOST:
            self.write()
        elif len(self._lines) == 1:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                self.write()
            else:
                loop.call_soon(self.write)


class Lines:
    """What structlog writes to a `Together`: warnings and errors do not wait for the end of the turn."""

    def __init__(self, target: Together) -> None:
        self._target = target

    def info(self, line: str) -> None:
        self._target.write_soon(line + "\n")

    def warning(self, line: str) -> None:
        self._target.write(line + "\n")

    debug, msg = info, info
    error = critical = exception = warn = warning


Adjustable: Any = type("Adjustable", (structlog.make_filtering_bound_logger(logging.DEBUG),), {})
"""The class of our loggers: they are kept where they were made, and go by another level when this does."""


def use_level(name: str) -> None:
    """Log what is of this level and above from now on, as "INFO"."""
    level = logging.getLevelNamesMapping()[name]
    for method, does in vars(structlog.make_filtering_bound_logger(level)).items():
        if not method.startswith("__"):
            setattr(Adjustable, method, does)
    logging.getLogger().setLevel(level)
    for quiet in QUIET:
        logging.getLogger(quiet).setLevel(max(level, logging.WARNING))


def set_up(process: str, *, together: bool = False) -> None:
    """Send every log line of this process (`api`, `worker`, …) through the same stages. Safe to call again.

    `together`: what is no warning, as an event loop goes on, and no sooner.
    """
    last = _last_stages(process)
    target = Together() if together else StandardError()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, *last],
        wrapper_class=Adjustable,
        logger_factory=partial(Lines, target)
        if isinstance(target, Together)
        else structlog.WriteLoggerFactory(file=cast("TextIO", target)),
        cache_logger_on_first_use=True,
    )
    _standard_library(last, target)
    use_level(settings.log_level)
    _excepthook()


def _last_stages(process: str) -> list[Processor]:
    def name_process(_logger: Any, _method: str, event: Any) -> Any:
        event.setdefault("process", process)
        return event

    render: Processor
    if settings.logs_json:
        encode = JSONEncoder().encode  # one encoder for all lines; what it gets is plain, since it is redacted
        render = structlog.processors.JSONRenderer(serializer=lambda event, **_: encode(event))
    else:
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    plain = [] if settings.logs_json else [_escape_controls]  # JSON escapes them itself
    return [
        name_process,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        *plain,
        render,
    ]


def one_line(text: str) -> str:
    """A text from outside as it may stand on a terminal: it begins no line of its own, and moves no cursor."""
    return _CONTROL.sub(_escaped, text)


def _escape_controls(_logger: Any, _method: str, event: Any) -> Any:
    """For people: no text that came from outside begins a line of its own, or moves the terminal's cursor."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = (_IN_TRACEBACK if key in _TRACEBACKS else _CONTROL).sub(_escaped, value)
    return event


def _escaped(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode()


def _standard_library(last: list[Processor], target: StandardError) -> None:
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
        ],
    )
    handler = logging.StreamHandler(cast("TextIO", target))
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    logging.captureWarnings(True)
    for name in OURS_TO_HANDLE:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    if settings.debug:
        logging.getLogger("sqlalchemy.engine").setLevel(logging.INFO)


def _excepthook() -> None:
    """What ends the process is logged like everything else, and not printed raw."""

    def log(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            structlog.get_logger().critical("process_failed", exc_info=(kind, error, trace))

    sys.excepthook = log
