"""Dynamic configuration over the wire."""

from typing import Any, Literal
from uuid import UUID

from pydantic import Field, JsonValue

from app.schemas.base import Input, Output, Timestamp


class ConfigItem(Output):
    """A declared key, as it stands."""

    key: str
    type: str = Field(description="bool, int, float, string, enum, duration (in seconds) or json")
    default: JsonValue
    value: JsonValue
    visibility: str = Field(description="public, user (whoever is signed in) or private")
    description: str
    owner: str
    source: Literal["default", "database"]
    revision: int = Field(description="of the last change; 0 where there was none")
    updated_at: Timestamp | None
    updated_by: UUID | None = Field(description="null for the command line, and where nothing is set")


class ConfigChange(Input):
    value: JsonValue
    comment: str | None = Field(default=None, max_length=500, description="why")


class ConfigRevert(Input):
    revision: int = Field(ge=1, le=2_147_483_647, strict=True)
    comment: str | None = Field(default=None, max_length=500, description="why")


class ConfigHistory(Output):
    """One change of a key. `set` is false where it was cleared: the default held from then on."""

    revision: int
    created_at: Timestamp
    actor_id: UUID | None = Field(description="null for the command line")
    comment: str | None
    before: JsonValue = Field(description="the value before; the default's where none was set")
    after: JsonValue = Field(description="the value from then on")
    set: bool


class EvaluationRequest(Output):
    """Whom to evaluate for. It is ignored where the caller may not change the configuration: then it is they."""

    context: dict[str, Any] = Field(default={}, description="`targetingKey`: an account's id; `roles`: what it has")


class Evaluated(Output):
    """A key evaluated for a caller. Source: OpenFeature Remote Evaluation Protocol."""

    key: str
    value: JsonValue
    reason: str
    variant: str
    metadata: dict[str, str]


class Flags(Output):
    flags: list[Evaluated]


class EvaluationFailed(Output):
    """Why there is no value. Source: OpenFeature Remote Evaluation Protocol."""

    key: str | None = None
    errorCode: str  # noqa: N815 - the protocol's name
    errorDetails: str  # noqa: N815 - the protocol's name
