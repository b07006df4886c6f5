"""The audit over the wire."""

from uuid import UUID

from pydantic import Field

from app.schemas.base import Output, Timestamp

_WHERE = "as long as it is kept; it goes with the account, and with age"


class AuditEntry(Output):
    """An audited event, for those who may read the audit."""

    id: UUID
    created_at: Timestamp
    actor_id: UUID | None = Field(description="the account that did it; null for a stranger and for the command line")
    action: str
    target_type: str | None
    target_id: str | None
    result: str
    ip: str | None = Field(description=_WHERE)
    user_agent: str | None = Field(description=_WHERE)
    request_id: str | None


class SecurityEvent(Output):
    """What happened to the caller's own account."""

    id: UUID
    created_at: Timestamp
    action: str
    ip: str | None = Field(description=f"null where somebody else did it, else {_WHERE}")
    user_agent: str | None = Field(description=f"null where somebody else did it, else {_WHERE}")
