"""Who may call what, by walking the OpenAPI document: each operation is open, or needs a token, or a permission too."""

from typing import Any

import pytest
from httpx2 import AsyncClient, Response

from app.core.permissions import GRANTS, Permission, Role
from tests.flows import Account, problem
from tests.public import PUBLIC
from tests.staff import with_roles

SOMEBODY = "019a0000-0000-7000-8000-000000000000"

OTHER_TOKENS = frozenset({"POST /api/v1/auth/refresh", "POST /api/v1/auth/logout"})
"""Operations that take a refresh token, in the body or in a cookie."""

NEEDED = {
    "GET /api/v1/admin/users": Permission.users_read,
    "GET /api/v1/admin/users/{user_id}": Permission.users_read,
    "PATCH /api/v1/admin/users/{user_id}": Permission.users_write,
    "DELETE /api/v1/admin/users/{user_id}": Permission.users_write,
    "DELETE /api/v1/admin/users/{user_id}/sessions": Permission.users_write,
    "GET /api/v1/admin/tasks": Permission.tasks_read,
    "POST /api/v1/admin/tasks/{task_id}/cancel": Permission.tasks_write,
    "POST /api/v1/admin/tasks/{task_id}/retry": Permission.tasks_write,
    "GET /api/v1/admin/audit": Permission.audit_read,
    "GET /api/v1/admin/config": Permission.config_write,
    "GET /api/v1/admin/config/{key}": Permission.config_write,
    "PUT /api/v1/admin/config/{key}": Permission.config_write,
    "DELETE /api/v1/admin/config/{key}": Permission.config_write,
    "GET /api/v1/admin/config/{key}/history": Permission.config_write,
    "POST /api/v1/admin/config/{key}/revert": Permission.config_write,
}
"""The permission of each admin operation."""


@pytest.fixture
async def document(client: AsyncClient) -> dict[str, Any]:
    return (await client.get("/openapi.json")).json()


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


async def call(client: AsyncClient, operation: str, **options: Any) -> Response:
    """Call an operation on things that are not there, with nothing in the body."""
    method, path = operation.split(" ")
    filled = "/".join(SOMEBODY if part.startswith("{") else part for part in path.split("/"))
    return await client.request(method, filled, **options)


async def test_every_operation_but_the_public_ones_needs_a_token(client: AsyncClient, document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        if name in PUBLIC | OTHER_TOKENS:
            continue
        answer = await call(client, name)
        assert problem(answer) == (401, "not_authenticated"), name
        assert answer.headers["www-authenticate"] == "Bearer", name
        answer = await call(client, name, headers={"Authorization": "Bearer nobody"})
        assert problem(answer) == (401, "invalid_access_token"), name
        assert operation.get("security"), f"{name} does not say that it needs a token"


async def test_every_admin_operation_is_refused_to_a_plain_user(account: Account, document: dict[str, Any]) -> None:
    admin = [name for name in operations(document) if "/admin/" in name]
    assert set(admin) == set(NEEDED), "say here which permission each admin operation needs"
    for name in admin:
        answer = await call(account.client, name, headers=account.bearer)
        assert problem(answer) == (403, "permission_denied"), name


@pytest.mark.parametrize("role", Role)
async def test_a_role_may_do_what_the_table_grants_and_nothing_else(client: AsyncClient, role: Role) -> None:
    account = await with_roles(client, role.value)
    for name, permission in NEEDED.items():
        answer = await call(client, name, headers=account.bearer)
        refused = answer.status_code == 403
        assert refused is (permission not in GRANTS[role]), (name, answer.status_code)
        assert refused or answer.status_code in (200, 404, 422), (name, answer.status_code)


def test_the_table_is_the_contracts() -> None:
    reading = {Permission.users_read, Permission.tasks_read, Permission.audit_read}
    assert {Role.user: frozenset(), Role.support: reading, Role.admin: set(Permission)} == GRANTS


@pytest.mark.parametrize("roles", [["root"], ["Admin"], ["admin "], ["users:read"], ["superuser", "user"]])
async def test_a_role_that_the_code_does_not_know_grants_nothing(client: AsyncClient, roles: list[str]) -> None:
    account = await with_roles(client, *roles)
    for name in NEEDED:
        assert problem(await call(client, name, headers=account.bearer)) == (403, "permission_denied"), name
