"""Looks through everything that a run logged for what no log may say: passwords, tokens, hashes, email addresses."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATTERNS = {
    "an email address": re.compile(
        r"[\w.+-]+(?:@|%40)(?:[a-z0-9-]+\.)+(?:com|org|net|dev|io|test|example)\b", re.IGNORECASE
    ),
    "a password hash": re.compile(r"\$argon2"),
    "a JSON Web Token": re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+"),
    "a refresh token": re.compile(r"\bnfr_[\w-]{16,}"),
    "a token in a link": re.compile(r"[?&]token=[\w-]{8,}"),
}
SECRET_FIELDS = re.compile(r"password|token|secret", re.IGNORECASE)
SHORTEST = 10  # characters: what is shorter stands in ordinary words too


@dataclass(frozen=True)
class Leak:
    """A line that says too much. What it says is not repeated."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} says {self.what}"


def find_leaks(lines: Iterable[str], secrets: Iterable[str], file: str = "log") -> Iterator[Leak]:
    """Every line that matches a pattern or repeats one of `secrets` (what the tests sent)."""
    known = [secret for secret in secrets if len(secret) >= SHORTEST]
    for number, line in enumerate(lines, 1):
        for what, pattern in PATTERNS.items():
            if pattern.search(line):
                yield Leak(file, number, what)
        if any(secret in line for secret in known):
            yield Leak(file, number, "a password or token that a test sent")


def search(folder: Path, secrets: Iterable[str]) -> list[Leak]:
    """The leaks in every log file of a run."""
    known = set(secrets)
    found: list[Leak] = []
    for file in sorted(folder.glob("*.log")):
        with file.open(errors="replace") as lines:
            found += find_leaks(lines, known, file.name)
    return found


def secrets_in(body: Any) -> Iterator[str]:
    """The values of all fields of a JSON body, however deep, that are named for a password or a token."""
    if isinstance(body, dict):
        for name, value in body.items():
            if isinstance(value, str) and SECRET_FIELDS.search(str(name)):
                yield value
            else:
                yield from secrets_in(value)
    elif isinstance(body, list):
        for part in body:
            yield from secrets_in(part)
