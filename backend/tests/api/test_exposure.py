"""What a scanner asks for first: it finds nothing."""

import pytest
from httpx2 import AsyncClient

from tests.flows import V1, problem

pytestmark = [pytest.mark.any_database, pytest.mark.any_server]

LEFT_LYING = [
    "/.git/HEAD",
    "/.git/config",
    "/.svn/entries",
    "/.env",
    "/.data/secret_key",
    "/backend/app/main.py",
    "/account/verify.html.j2",
    "/account/../static/verify.html.j2",
    "/docs/..%2f..%2fmain.py",
    "/server-status",
    "/actuator",
    "/debug",
]
FOLDERS = [
    "/",
    "/account",
    "/account/",
    "/docs/",
    "/redoc/",
    "/problems/",
    "/.well-known/",
    "/dev/",
    "/static/",
    "/api/",
    V1,
]


@pytest.mark.parametrize("path", LEFT_LYING)
async def test_no_file_of_the_project_is_served(client: AsyncClient, path: str) -> None:
    assert problem(await client.get(path)) == (404, "not_found")


@pytest.mark.parametrize("path", FOLDERS)
async def test_no_folder_lists_what_is_in_it(client: AsyncClient, path: str) -> None:
    assert problem(await client.get(path)) == (404, "not_found")


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "CONNECT", "DEBUG"])
async def test_no_method_echoes_the_request(client: AsyncClient, method: str) -> None:
    for path in (f"{V1}/users/me", "/problems", "/account/verify"):
        answer = await client.request(method, path, headers={"X-Echo": "verysecret"})
        assert problem(answer) == (405, "method_not_allowed")
        assert "verysecret" not in answer.text
