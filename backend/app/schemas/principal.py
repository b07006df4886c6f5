from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.core.permissions import Permission, granted


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: the account behind a verified access token, and its session. A copy, never a database row."""

    id: UUID
    email: str
    full_name: str | None
    is_active: bool
    is_verified: bool
    roles: list[str]
    created_at: datetime
    updated_at: datetime
    session_id: UUID
    authenticated_at: datetime
    """When the session's password was last given."""
    revoked_at: datetime | None

    @property
    def permissions(self) -> frozenset[Permission]:
        return granted(self.roles)
