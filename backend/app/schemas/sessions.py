"""Sign-ins over the wire."""

from uuid import UUID

from pydantic import Field

from app.schemas.base import Output, Timestamp


class SessionResponse(Output):
    id: UUID
    created_at: Timestamp = Field(description="when it was signed in")
    last_used_at: Timestamp = Field(description="when it was last signed in or refreshed")
    expires_at: Timestamp = Field(description="when it ends unless it is refreshed before")
    ip: str | None = Field(description="the address that signed in")
    user_agent: str | None
    current: bool = Field(description="whether it is the one that asks")
