"""What a migration would do to a PostgreSQL that is in use: `neoforge db lint`. SQL from Alembic's offline mode."""

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alembic.script import Script, ScriptDirectory

from app.tools import lint_rules, migrate, squawk
from app.tools.recording import record
from app.tools.revising import UNFILLED

_ACCEPTED = re.compile(r"^ *Lint: *(\S+)(?: +- +(\S.*))?$", re.MULTILINE)
_ROLLBACK = re.compile(r"^ *Rollback: *(\S.*(?:\n *\S.*)*)", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    file: str
    rule: str
    text: str

    @property
    def words(self) -> str:
        return f"{self.file}: {self.rule}: {self.text}"


def revision_of(file: Path) -> str:
    """The revision that stands in a file."""
    scripts = ScriptDirectory.from_config(migrate.config())
    return next(one.revision for one in scripts.walk_revisions() if Path(one.path).resolve() == file.resolve())


def chosen(revisions: Sequence[str], since: str | None) -> list[str]:
    """The revisions that were named, or those after `since`, or all; the oldest first."""
    scripts = ScriptDirectory.from_config(migrate.config())
    found = [scripts.get_revision(one).revision for one in revisions]
    if found:
        return found
    start = scripts.get_revision(since).revision if since else "base"
    walked = scripts.walk_revisions(start, "heads")
    return [one.revision for one in reversed(list(walked)) if one.revision != start]


def lint(revisions: Iterable[str]) -> list[Finding]:
    """What is wrong with each of them, by our own rules, and squawk's where it is installed."""
    scripts = ScriptDirectory.from_config(migrate.config())
    return [finding for one in revisions for finding in _lint(scripts.get_revision(one))]


def _lint(script: Script) -> Iterator[Finding]:
    recorded = record([script.module.upgrade])
    said = inspect.cleandoc(script.module.__doc__ or "")
    found = [*lint_rules.broken(recorded.statements, recorded.widened), *squawk.broken(recorded.statements)]
    if _rollback(said):
        found = [one for one in found if one[0] != lint_rules.DESTRUCTIVE]
    accepted: dict[str, str] = dict(_ACCEPTED.findall(said))
    name = Path(script.path).name
    for rule, text in found:
        if rule not in accepted:
            yield Finding(name, rule, text)
    for rule, reason in accepted.items():
        if not reason:
            yield Finding(name, "lint-without-reason", f"say why: `Lint: {rule} - reason`")
        elif rule not in {one for one, _ in found} and (squawk.program() or rule in lint_rules.OWN):
            yield Finding(name, "lint-without-cause", f"nothing here breaks {rule}: take the line `Lint: {rule}` away")


def _rollback(said: str) -> bool:
    """Whether the paragraph `Rollback:` was written: a sentence, not a word."""
    found = _ROLLBACK.search(said)
    words = found[1].split() if found else []
    return len(words) >= lint_rules.ROLLBACK_WORDS and " ".join(words) != UNFILLED
