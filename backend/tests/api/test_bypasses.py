"""Ways round the front door, tried on every operation of the OpenAPI document: spellings, methods, fields of others."""

from collections.abc import Iterator
from typing import Any

import pytest
from httpx2 import AsyncClient

from tests.flows import V1, Account

pytestmark = pytest.mark.any_server
SOMEBODY = "019a0000-0000-7000-8000-000000000000"
NOT_THEIRS = {
    "id": SOMEBODY,
    "user_id": SOMEBODY,
    "is_verified": True,
    "is_superuser": True,
    "is_admin": True,
    "role": "admin",
    "permissions": ["users:write"],
    "hashed_password": "x",
    "email_verified": True,
    "created_at": "2020-01-01T00:00:00Z",
    "__proto__": {"admin": True},
}
OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
REWRITES = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Path")


def spellings(path: str) -> Iterator[str]:
    """Other spellings of a path, which a gateway or a router might take for the same one."""
    first, *rest = path.strip("/").split("/")
    tail = "/".join(rest)
    yield f"/{path}"
    yield f"{path}/"
    yield f"/{first}//{tail}"
    yield f"/{first};x=1/{tail}"
    yield f"{path};x"
    yield f"{path}%20"
    yield f"{path}%00"
    yield f"{path}%2f"
    yield f"{path}.json"
    yield f"/%2e/{first}/{tail}"
    yield f"/{first}/%2e%2e/{first}/{tail}"
    yield f"/{first}/./{tail}"
    yield f"/{first}/x/../{tail}"
    yield f"/{first}%2f{tail}"
    yield f"/{first}\\{tail}"
    yield path.upper()
    yield path.replace("users", "Users").replace("admin", "Admin")
    yield path.replace("e", "%65", 1).replace("users", "us%65rs")


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def filled(path: str) -> str:
    parts = [SOMEBODY if part.startswith("{") else part for part in path.split("/")]
    return "/".join(parts)


@pytest.fixture
async def document(client: AsyncClient) -> dict[str, Any]:
    return (await client.get("/openapi.json")).json()


async def test_no_spelling_of_a_path_lets_a_stranger_in(client: AsyncClient, document: dict[str, Any]) -> None:
    guarded = [(method, filled(path)) for method, path, op in operations(document) if all(op.get("security", [{}]))]
    assert len(guarded) > 5
    for method, path in guarded:
        for spelt in {path, *spellings(path)}:
            answer = await client.request(method, spelt)
            assert answer.status_code in (400, 401, 404, 405), (method, spelt, answer.status_code)


async def test_no_spelling_of_a_path_makes_a_user_an_admin(account: Account, document: dict[str, Any]) -> None:
    for method, path, _ in operations(document):
        if "/admin/" in path:
            for spelt in {filled(path), *spellings(filled(path))}:
                answer = await account.client.request(method, spelt, headers=account.bearer)
                assert answer.status_code in (400, 403, 404, 405), (method, spelt, answer.status_code)


async def test_no_header_changes_the_method_or_the_path(account: Account, document: dict[str, Any]) -> None:
    for name in OVERRIDES:
        answer = await account.client.get(f"{V1}/users/me", headers={**account.bearer, name: "DELETE"})
        assert answer.status_code == 200
        assert (await account.client.post(f"{V1}/users/me", headers={name: "GET", **account.bearer})).status_code == 405
    for name in REWRITES:
        answer = await account.client.get(f"{V1}/health", headers={name: f"{V1}/users/me"})
        assert set(answer.json()) == {"status", "timestamp", "version"}
    assert (await account.me()).status_code == 200


async def test_a_method_that_a_path_has_not_is_refused_with_those_that_it_has(
    account: Account, document: dict[str, Any]
) -> None:
    for path, item in document["paths"].items():
        has = {method.upper() for method in item}
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} - has:
            answer = await account.client.request(method, filled(path), headers=account.bearer)
            assert answer.status_code == 405, (method, path)
            allowed = {one.strip() for one in answer.headers["allow"].split(",")}
            assert has <= allowed, (path, allowed)
            assert method not in allowed


async def test_no_operation_takes_a_field_that_is_not_the_callers_to_set(
    account: Account, document: dict[str, Any]
) -> None:
    """Whatever else a body lacks, each such field is named as one that is refused."""
    bodies = 0
    for method, path, operation in operations(document):
        if "application/json" not in operation.get("requestBody", {}).get("content", {}) or "/admin/" in path:
            continue
        if path.startswith("/ofrep/"):  # a client of that protocol may send a context of its own
            continue
        bodies += 1
        answer = await account.client.request(method, filled(path), json=NOT_THEIRS, headers=account.bearer)
        assert answer.status_code == 422, (method, path)
        refused = {fault["pointer"].lstrip("/") for fault in answer.json()["errors"] if "extra" in fault["code"]}
        assert refused == set(NOT_THEIRS), (method, path)
    assert bodies > 5
