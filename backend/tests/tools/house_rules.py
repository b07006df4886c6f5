"""The rules of the house that neither ruff nor import-linter knows: each answers the lines that break it."""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

LONGEST = 220  # lines of a module; past 200 it asks to be read again
COMMITS = ("app/api/deps.py", "app/worker/", "app/tools/", "app/cli")
PRINTS = ("app/cli", "app/dev/")
CLOCK = "app/core/clock.py"
READS_CLOCK = {
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
    "time": {"time", "time_ns", "localtime", "gmtime"},
}
SUPPRESSION = re.compile(
    r"#\s*(?:noqa(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?|type:\s*ignore(?:\[[\w, -]*\])?"
    r"|pragma:\s*no\s+\w+|(?:nosec|mypy:|ruff:).*)",
    re.IGNORECASE,
)
REASON = re.compile(r"\w+(?:\W+\w+)+")
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")


@dataclass(frozen=True)
class Module:
    """A source file, by its path from the backend's folder."""

    path: str
    source: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def lines(self) -> list[str]:
        return self.source.splitlines()

    def comments(self) -> Iterator[tuple[int, str]]:
        for token in tokenize.generate_tokens(io.StringIO(self.source).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string

    def is_in(self, *places: str) -> bool:
        return self.path.startswith(places)


Rule = Callable[[Module], Iterator[int]]


def commits_stand_where_a_unit_of_work_ends(module: Module) -> Iterator[int]:
    if not module.is_in(*COMMITS):
        yield from (call.lineno for call in _calls(module) if _name(call.func)[-1] == "commit")


def one_clock(module: Module) -> Iterator[int]:
    if module.path == CLOCK:
        return
    for call in _calls(module):
        *owner, name = _name(call.func)
        if owner and name in READS_CLOCK.get(owner[-1], ()):
            yield call.lineno
    for node in ast.walk(module.tree):  # `from time import time` would hide it from the look above
        names = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else set()
        if isinstance(node, ast.ImportFrom) and node.module == "time" and READS_CLOCK["time"] & names:
            yield node.lineno


def wide_excepts_say_why(module: Module) -> Iterator[int]:
    comments = dict(module.comments())
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ExceptHandler) or not _is_wide(node.type):
            continue
        reraises = any(isinstance(inner, ast.Raise) for part in node.body for inner in ast.walk(part))
        if not reraises and not REASON.search(SUPPRESSION.sub("", comments.get(node.lineno, ""))):
            yield node.lineno


def only_commands_print(module: Module) -> Iterator[int]:
    if not module.is_in(*PRINTS):
        yield from (call.lineno for call in _calls(module) if _name(call.func) == ["print"])


def suppressions_say_why(module: Module) -> Iterator[int]:
    for line, comment in module.comments():
        if SUPPRESSION.search(comment) and not REASON.search(SUPPRESSION.sub("", comment)):
            yield line


def nothing_is_left_undone(module: Module) -> Iterator[int]:
    yield from (line for line, comment in module.comments() if UNFINISHED.search(comment))


def modules_are_short(module: Module) -> Iterator[int]:
    if len(module.lines) > LONGEST:
        yield len(module.lines)


RULES: tuple[Rule, ...] = (
    commits_stand_where_a_unit_of_work_ends,
    one_clock,
    wide_excepts_say_why,
    only_commands_print,
    suppressions_say_why,
    nothing_is_left_undone,
    modules_are_short,
)


def modules(root: Path, *folders: str) -> Iterator[Module]:
    """Every Python file under these folders of `root`."""
    for folder in folders:
        for file in sorted((root / folder).rglob("*.py")):
            yield Module(str(file.relative_to(root)), file.read_text())


def _calls(module: Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))


def _name(node: ast.expr) -> list[str]:
    """`db.session.commit` in parts; what is not a name is an empty part."""
    if isinstance(node, ast.Attribute):
        return [*_name(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else [""]


def _is_wide(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(_is_wide(one) for one in caught.elts)
    return caught is None or _name(caught)[-1] in ("Exception", "BaseException")
