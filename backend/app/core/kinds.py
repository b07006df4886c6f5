"""The types that a dynamic setting may have, as they are declared: `core/declared.py` says which there are."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field, StrictBool

from app.core.dynamic import Setting
from app.core.rate import parse_rate

E = TypeVar("E", bound=StrEnum)
M = TypeVar("M", bound=BaseModel)


def boolean(key: str, description: str, *, default: bool, **more: Any) -> Setting[bool]:
    return Setting(key, "bool", StrictBool, default, description, **more)


def integer(key: str, description: str, *, default: int, ge: int, le: int, **more: Any) -> Setting[int]:
    return Setting(key, "int", Annotated[int, Field(ge=ge, le=le, strict=True)], default, description, **more)


def number(key: str, description: str, *, default: float, ge: float, le: float, **more: Any) -> Setting[float]:
    bounds = Field(ge=ge, le=le, allow_inf_nan=False, strict=True)
    return Setting(key, "float", Annotated[float, bounds], default, description, **more)


def string(
    key: str, description: str, *, default: str, max_length: int = 200, pattern: str | None = None, **more: Any
) -> Setting[str]:
    schema = Annotated[str, Field(max_length=max_length, pattern=pattern, strict=True)]
    return Setting(key, "string", schema, default, description, **more)


def choice(key: str, description: str, *, default: E, **more: Any) -> Setting[E]:
    return Setting(key, "enum", type(default), default.value, description, **more)


def duration(
    key: str, description: str, *, default: timedelta, ge: timedelta, le: timedelta, **more: Any
) -> Setting[timedelta]:
    """In JSON a number of seconds."""
    bounds = Field(ge=ge.total_seconds(), le=le.total_seconds(), allow_inf_nan=False, strict=True)
    more["read"] = lambda seconds: timedelta(seconds=seconds)
    return Setting(key, "duration", Annotated[float, bounds], default.total_seconds(), description, **more)


def document(key: str, description: str, *, default: M, **more: Any) -> Setting[M]:
    """A JSON document of that model."""
    return Setting(key, "json", type(default), default.model_dump(mode="json"), description, **more)


AS_STARTED = "as_started"
"""In the place of a value: that of the environment, as the process read it when it started."""


def rate(key: str, description: str, **more: Any) -> Setting[str]:
    """How often in how long, as `10/minute`; `false` is no limit."""
    schema = Annotated[str, Field(max_length=40, strict=True), AfterValidator(_rate_or_none)]
    return Setting(key, "string", schema, AS_STARTED, description, owner="limits", **more)


def _rate_or_none(text: str) -> str:
    if text != AS_STARTED:
        parse_rate(text)
    return text
