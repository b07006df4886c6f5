"""Who may do what, as a table. Endpoints name a permission, never a role."""

from collections.abc import Iterable
from enum import StrEnum


class Permission(StrEnum):
    users_read = "users:read"
    users_write = "users:write"
    tasks_read = "tasks:read"
    tasks_write = "tasks:write"
    audit_read = "audit:read"
    config_write = "config:write"


class Role(StrEnum):
    user = "user"
    support = "support"
    admin = "admin"


GRANTS: dict[Role, frozenset[Permission]] = {
    Role.user: frozenset(),
    Role.support: frozenset({Permission.users_read, Permission.tasks_read, Permission.audit_read}),
    Role.admin: frozenset(Permission),
}


def granted(roles: Iterable[str]) -> frozenset[Permission]:
    """What an account with these roles may do. A role that the code does not know grants nothing."""
    known = (GRANTS[Role(role)] for role in roles if role in Role.__members__)
    return frozenset().union(*known)
