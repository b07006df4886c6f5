from typing import Any
from uuid import UUID

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from app.models.base import JSON_TYPE, Table


class ConfigRevision(Table, table=True):
    """One change of a dynamic setting or flag. The last one of a key is what holds; none is ever changed or deleted."""

    __tablename__ = "config_revisions"
    __table_args__ = (UniqueConstraint("key", "revision"),)

    key: str = Field(max_length=64)
    revision: int
    """1 for the first change of a key, then one more for each: of two at once one is refused."""
    before: dict[str, Any] | None = Field(default=None, sa_type=JSON_TYPE)
    """`{"value": …}`; NULL where the default held."""
    after: dict[str, Any] | None = Field(default=None, sa_type=JSON_TYPE)
    """As `before`; NULL where it was cleared."""
    comment: str | None = Field(default=None, max_length=500)
    actor_id: UUID | None = None
    """Who did it: an account, or None for the command line."""
