"""Dynamic settings and flags: declared in code with their type, changed while everything runs, read without I/O.

What an operator has set is in `config_revisions`; each process keeps the current values here.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, TypeAdapter

from app.core import plain
from app.core.permissions import Role

T = TypeVar("T")
_SPAN = 1 << 64


class Visibility(StrEnum):
    """Who may know the value: everybody, whoever is signed in, or those alone who may change it."""

    public = "public"
    user = "user"
    private = "private"


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom something is evaluated; by default somebody who is not known."""

    user_id: UUID | None = None
    roles: frozenset[str] = frozenset()


ANYBODY = Caller()


class Setting(Generic[T]):
    """A setting of one type. Calling it reads it."""

    def __init__(
        self,
        key: str,
        kind: str,
        schema: Any,
        default: Any,
        description: str,
        *,
        visibility: Visibility = Visibility.private,
        owner: str = "service",
        read: Callable[[Any], Any] = lambda value: value,
    ) -> None:
        """
        Raises:
            ValueError: the key is declared twice, or its default does not fit.
        """
        if key in DECLARED:
            raise ValueError(f"{key} is declared twice")
        self.key, self.kind = key, kind
        self.description, self.visibility, self.owner = description, visibility, owner
        self._schema: TypeAdapter[Any] = TypeAdapter(schema)
        self._read = read
        self.default: Any = self.normal(default)
        self.use(default)
        DECLARED[key] = self

    def normal(self, value: Any) -> Any:
        """A value in JSON as it is stored and served: of its declared type, a document with all of its fields.

        Raises:
            ValueError: it is of another type, or out of bounds. A `ValidationError` says where.
        """
        return self._dumped(self._checked(value))

    def use(self, value: Any) -> None:
        """Have this value from now on in this process.

        Raises: as `normal`.
        """
        checked = self._checked(value)
        self._value, self.served = self._read(checked), self._dumped(checked)

    def _checked(self, value: Any) -> Any:
        return _strictly(self._schema, value)

    def _dumped(self, checked: Any) -> Any:
        return self._schema.dump_python(checked, mode="json")

    def __call__(self) -> T:
        found: T = self._value
        return found

    def evaluate(self, caller: Caller) -> tuple[Any, str]:  # noqa: ARG002 - a setting is the same for everybody
        """The value in JSON for a caller, and why: a reason of OpenFeature's."""
        return self.served, "STATIC"


class Rule(BaseModel):
    """For whom a flag is on: for these roles, these accounts, and a part of all accounts that are signed in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    roles: Annotated[frozenset[Role], Field(max_length=10)] = frozenset()
    users: Annotated[frozenset[UUID], Field(max_length=1_000)] = frozenset()
    percentage: float = Field(default=0, ge=0, le=100, allow_inf_nan=False, strict=True)


_RULE, _BOOL = TypeAdapter(Rule), TypeAdapter(StrictBool)


class Flag(Setting[bool]):
    """On or off for a caller: `flags.demo_banner(caller)`."""

    def __init__(self, key: str, description: str, *, default: bool = False, **more: Any) -> None:
        self._seed = f"{key}\0".encode()
        super().__init__(key, "bool", StrictBool | Rule, default, description, **more)

    def _checked(self, value: Any) -> Any:
        return _strictly(_RULE if isinstance(value, dict) else _BOOL, value)

    def _dumped(self, checked: Any) -> Any:
        return checked if isinstance(checked, bool) else _RULE.dump_python(checked, mode="json", exclude_unset=True)

    def __call__(self, caller: Caller = ANYBODY) -> bool:
        """Without I/O, and never raises."""
        return self.evaluate(caller)[0]

    def evaluate(self, caller: Caller) -> tuple[bool, str]:
        rule = self._value
        if isinstance(rule, bool):
            return rule, "STATIC"
        if caller.user_id is not None:
            if caller.user_id in rule.users or not rule.roles.isdisjoint(caller.roles):
                return True, "TARGETING_MATCH"
            if rule.percentage:
                return self._place_of(caller.user_id) < rule.percentage, "SPLIT"
        return rule.percentage >= 100, "DEFAULT"

    def _place_of(self, user_id: UUID) -> float:
        """Where an account stands among all, from 0 to below 100: always there, and elsewhere for each flag."""
        digest = hashlib.sha256(self._seed + user_id.bytes).digest()
        return int.from_bytes(digest[:8]) * 100 / _SPAN


def _strictly(schema: TypeAdapter[Any], value: Any) -> Any:
    """A value in JSON, checked as such: a number is no text, and no text is a number."""
    plain.check(value)
    return schema.validate_json(json.dumps(value), strict=True)


DECLARED: dict[str, Setting[Any]] = {}
"""Every key, in the order of its declaration."""


# --- the current values ---------------------------------------------------------------------------------------------


def use(values: Mapping[str, Any]) -> list[str]:
    """Go by these values from now on; the keys whose value does not fit, or that nobody declares.

    These are not served: a key has its default then.
    """
    unfit = [key for key in values if key not in DECLARED]
    for key, setting in DECLARED.items():
        try:
            setting.use(values.get(key, setting.default))
        except ValueError:
            unfit.append(key)
            setting.use(setting.default)
    return unfit


def may_know(caller: Caller, setting: Setting[Any]) -> bool:
    """Whether a public answer to this caller may have the setting. None has a private one, whoever asks."""
    if setting.visibility is Visibility.user:
        return caller.user_id is not None
    return setting.visibility is Visibility.public


def visible(caller: Caller) -> dict[str, Any]:
    """By key what a caller may know, evaluated for them."""
    return {key: setting.evaluate(caller)[0] for key, setting in DECLARED.items() if may_know(caller, setting)}
