from uuid import UUID

from sqlalchemy import CheckConstraint
from sqlmodel import Field, SQLModel

from app.core.sql import new_id
from app.models import base  # noqa: F401 - the naming convention must stand before the first table


class Installation(SQLModel, table=True):
    """The one row that says which installation this is. Redis keys begin with it, so that a Redis can be shared."""

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: int = Field(default=1, primary_key=True)
    uid: UUID = Field(default_factory=new_id)
