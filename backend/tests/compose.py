"""The compose files and the Dockerfile, read as the container tools read them, as far as the tests need it."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.services import BACKEND

ROOT = BACKEND.parent
DEV, PROD = ROOT / "docker-compose.yml", ROOT / "docker-compose.prod.yml"
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<how>:-|:\?)(?P<word>[^}]*))?\})")


class Refused(Exception):
    """A variable that has no default is not set."""


def load(file: Path, env: dict[str, str]) -> dict[str, Any]:
    """The file with its includes and with `${…}` filled in from `env`; every path in it is left as it stands.

    Raises:
        Refused: `${NAME:?…}` and NAME is not in `env`.
    """
    found: dict[str, Any] = _fill(yaml.safe_load(file.read_text()), env)
    for included in found.pop("include", []):
        part = load(file.parent / included["path"], env)
        for section, entries in part.items():
            if isinstance(entries, dict):
                found.setdefault(section, {}).update(entries)
    return found


def _fill(value: Any, env: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(entry, env) for key, entry in value.items()}
    if isinstance(value, list):
        return [_fill(entry, env) for entry in value]
    return _VARIABLE.sub(lambda match: _one(match, env), value) if isinstance(value, str) else value


def _one(match: re.Match[str], env: dict[str, str]) -> str:
    name, how, word = match["name"], match["how"], match["word"]
    if name is None:
        return "$"
    if env.get(name):
        return env[name]
    if how == ":?":
        raise Refused(f"{name}: {word}")
    if how is None:
        raise AssertionError(f"${{{name}}} has no default: a machine without it would get an empty one and a warning")
    return str(word)


class Stage:
    """What an image of this stage gives a process: working directory, environment, user, command."""

    def __init__(self, name: str) -> None:
        self.workdir, self.user, self.command = "/", "0", ""
        self.env: dict[str, str] = {}
        text = (BACKEND / "Dockerfile").read_text().replace("\\\n", " ")
        stages: dict[str, list[list[str]]] = {}
        parents: dict[str, str] = {}
        current: list[list[str]] = []
        for line in text.splitlines():
            word, _, rest = line.strip().partition(" ")
            if word == "FROM":
                parent, _, own = rest.partition(" AS ")
                parents[own], stages[own] = parent, []
                current = stages[own]
            elif word and not word.startswith("#"):
                current.append([word, rest])
        self.instructions = stages
        self._play(name, parents)

    def _play(self, name: str, parents: dict[str, str]) -> None:
        if parents[name] in self.instructions:
            self._play(parents[name], parents)
        for word, rest in self.instructions[name]:
            if word == "WORKDIR":
                self.workdir = rest
            elif word == "ENV":
                self.env.update(part.split("=", 1) for part in rest.split())
            elif word == "ARG":
                self.env.setdefault(*rest.split("=", 1))
            elif word == "USER":
                self.user = re.sub(r"\$(\w+)", lambda match: self.env[match[1]], rest)
            elif word == "CMD":
                self.command = rest
