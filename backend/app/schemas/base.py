"""What goes over the wire: unknown fields are refused, times end in Z with six fractional digits."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema


def rfc3339(moment: datetime) -> str:
    """RFC 3339 in UTC, six fractional digits."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


Timestamp = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-23T12:00:00.000000Z"]}),
]


class Input(BaseModel):
    """A body that a client sends."""

    model_config = ConfigDict(extra="forbid", str_max_length=10_000)


class Output(BaseModel):
    """A body that we send, made from a row or a value."""

    model_config = ConfigDict(from_attributes=True, frozen=True)
