"""What admins see and send."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictBool

from app.core.permissions import Role
from app.schemas.base import Input
from app.schemas.users import FullName


def _kept(roles: list[Role]) -> list[str]:
    """As they are stored: each once, in the order of the table, without `user`, which every account is."""
    return [role.value for role in Role if role in roles and role is not Role.user]


Roles = Annotated[list[Role], Field(max_length=10), AfterValidator(_kept)]


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class UserChange(Input):
    """What an admin may set of an account. What is left out stays."""

    is_active: StrictBool = Field(True, json_schema_extra=_without_default)
    is_verified: StrictBool = Field(True, json_schema_extra=_without_default)
    roles: Roles = Field([], json_schema_extra=_without_default)
    full_name: FullName | None = None

    def given(self) -> dict[str, Any]:
        """The fields that were sent."""
        return {name: getattr(self, name) for name in self.model_fields_set}
