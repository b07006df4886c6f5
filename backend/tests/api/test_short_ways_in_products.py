"""What a product asks for at a route holds, also where that route has a short way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, Header

from app.api import registering, shortcut
from app.api.known import Known
from app.api.limits import limit
from app.api.strict import StrictRouter
from tests.databases import own_database
from tests.services import BACKEND, Services

SHORT = {
    "me": shortcut.KNOWN_ME,
    "refresh": shortcut.KNOWN_REFRESH,
    "login": shortcut.KNOWN_LOGIN,
    "register": registering.KNOWN,
}
EDITS = {
    "users.py": ('@router.get("/me", ', '@router.get("/me", dependencies=[Depends(held)], '),
    "auth.py": ('dependencies=[limit("login")], responses', 'dependencies=[limit("login"), Depends(held)], responses'),
}
HELD = """

async def held(request: Request) -> None:
    if request.headers.get("x-word") != "swordfish":
        raise ValidationFailed.at("/query", "held", "The product wants a word")

router = """
PRODUCT = """
import asyncio
from httpx2 import ASGITransport, AsyncClient
from app.core.db import dispose
from app.main import app

async def main():
    ada = {"email": "ada@example.com", "password": "plum-otter-42-lantern"}
    word = {"X-Word": "swordfish"}
    async with AsyncClient(transport=ASGITransport(app), base_url="http://localhost/api/v1") as client:
        said = [(await client.post("/auth/register", json=ada)).status_code]
        said.append((await client.post("/auth/login", json=ada)).status_code)
        let_in = await client.post("/auth/login", json=ada, headers=word)
        bearer = {"Authorization": f"Bearer {let_in.json()['access_token']}"}
        said += [let_in.status_code, (await client.get("/users/me", headers=bearer)).status_code]
        said.append((await client.get("/users/me", headers={**bearer, **word})).status_code)
    await dispose()
    print(said)

asyncio.run(main())
"""


async def _asked_too(x_captcha: Annotated[str, Header()]) -> None: ...


@pytest.mark.parametrize("name", SHORT)
def test_a_short_way_is_open_until_its_route_asks_for_more(name: str) -> None:
    known = SHORT[name]
    route = known.route()
    assert route is not None

    def again(**more: Any) -> bool:
        router = StrictRouter(prefix=route.path.rpartition("/")[0])
        said: dict[str, Any] = {
            "dependencies": route.dependencies, "status_code": route.status_code,
            "response_model": route.response_model,
        }  # fmt: skip
        router.api_route(f"/{route.path.rpartition('/')[2]}", methods=[known.method], **{**said, **more})(
            route.endpoint
        )
        return known.knows(router.routes[-1])  # type: ignore[arg-type]  # a StrictRoute

    assert again()
    assert not again(dependencies=[*route.dependencies, Depends(_asked_too)])
    assert not again(dependencies=[*route.dependencies, limit("password")])
    assert not again(response_model_exclude_none=True)


def test_another_answer_is_given_by_the_route_itself() -> None:
    known = shortcut.KNOWN_ME
    changed = Known(known.router, known.path, known.method, known.depends, known.limits, known.takes, answers=dict)
    assert known.route() is not None
    assert changed.route() is None


def test_a_dependency_that_a_product_adds_is_asked(services: Services, tmp_path: Path) -> None:
    shutil.copytree(BACKEND / "app", tmp_path / "app")
    for file, (old, new) in EDITS.items():
        source = (tmp_path / "app/api/endpoints" / file).read_text()
        assert old in source
        edited = source.replace(old, new, 1).replace("\nrouter = ", HELD, 1)
        needed = "\nfrom fastapi import Request\nfrom app.core.errors import ValidationFailed\nfrom app.api"
        edited = edited.replace("\nfrom app.api", needed, 1)
        (tmp_path / "app/api/endpoints" / file).write_text(edited)
    done = subprocess.run(
        [sys.executable, "-c", PRODUCT],
        cwd=tmp_path, env={**os.environ, "DATABASE_URL": own_database(services, "held"), "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "[201, 422, 200, 422, 200]"
