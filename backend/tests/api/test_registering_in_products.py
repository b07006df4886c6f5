"""What a product changes about registering holds for everybody: what the short way does not know, it leaves alone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, Header, Response
from fastapi.responses import PlainTextResponse

from app.api import deps, registering
from app.api.endpoints import auth
from app.api.limits import limit
from app.api.strict import StrictRouter
from app.schemas.auth import UserLogin
from app.schemas.users import UserCreate
from tests.databases import own_database
from tests.services import BACKEND, Services


async def _asked_too(x_captcha: Annotated[str, Header()]) -> None: ...


async def _more(new: UserCreate, db: deps.DB, language: deps.Language, response: Response, coupon: str = "") -> Any: ...


async def _another_body(new: UserLogin, db: deps.DB, language: deps.Language, response: Response) -> Any: ...


@pytest.mark.parametrize(
    ("endpoint", "more"),
    [
        (auth.register, {"dependencies": [limit("register"), Depends(_asked_too)]}),
        (auth.register, {"dependencies": [limit("register"), limit("login")]}),
        (auth.register, {"dependencies": []}),
        (auth.register, {"response_model_exclude_none": True}),
        (auth.register, {"response_class": PlainTextResponse}),
        (_more, {}),
        (_another_body, {}),
    ],
    ids=["a dependency", "a limit", "no limit", "what is left out", "how it is written", "a parameter", "another body"],
)
def test_a_route_that_asks_for_more_goes_the_usual_way(endpoint: Any, more: dict[str, Any]) -> None:
    def knows(endpoint: Any, **more: Any) -> bool:
        router = StrictRouter(prefix="/auth", dependencies=[Depends(deps.no_store)])
        said: dict[str, Any] = {"dependencies": [limit("register")], "status_code": 201, "response_model": None}
        router.post("/register", **{**said, **more})(endpoint)
        return registering.KNOWN.knows(router.routes[-1])  # type: ignore[arg-type]  # a StrictRoute

    assert knows(auth.register)
    assert not knows(endpoint, **more)


MODEL = """
    company: str | None = Field(default=None, max_length=200)
    plan: str = Field(default="free", max_length=16)
    roles: list["""
LEFT = """
    source: str = Field(max_length=16, sa_column_kwargs={"server_default": "web"})
    number: int = Field(sa_column_kwargs={"default": lambda: 7})
    roles: list["""
EDITS = {
    "models/user.py": ("\n    roles: list[", MODEL),
    "schemas/users.py": ("    invitation_code:", "    company: FullName | None = None\n    invitation_code:"),
}
ANSWERED = ("schemas/users.py", "    roles: list[str]", "    company: str | None\n    plan: str\n    roles: list[str]")
PRODUCT = """
import asyncio, json, sys
from httpx2 import ASGITransport, AsyncClient
from sqlalchemy import text
from app.core.db import engine, dispose
from app.main import app
from tests.counting import statements

async def main():
    async with engine().begin() as db:
        for column in json.loads(sys.argv[1]):
            await db.execute(text(f"ALTER TABLE users ADD COLUMN {column}"))
    found = []
    async with AsyncClient(transport=ASGITransport(app), base_url="http://localhost") as client:
        for number, query in enumerate(({}, {"the": "usual way"})):
            sent = {"email": f"ada{number}@example.com", "password": "plum-otter-42-lantern", "company": "Engines"}
            with statements() as asked:
                answer = await client.post("/api/v1/auth/register", json=sent, params=query)
            found.append([answer.status_code, answer.json(), len(asked)])
    async with engine().connect() as db:
        rows = [dict(row) for row in (await db.execute(text("SELECT * FROM users ORDER BY email"))).mappings()]
    await dispose()
    print(json.dumps([found, rows], default=str))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("model", "columns", "stored"),
    [
        (MODEL, ["company VARCHAR(200)", "plan VARCHAR(16) NOT NULL DEFAULT ''"], {}),
        (
            LEFT.replace("\n    source", MODEL.partition("\n    roles")[0] + "\n    source"),
            [
                "company VARCHAR(200)",
                "plan VARCHAR(16) NOT NULL DEFAULT ''",
                "source VARCHAR(16) NOT NULL DEFAULT 'web'",
                "number INTEGER",
            ],
            {"source": "web", "number": 7},
        ),
    ],
    ids=["a field and a default", "what the database and SQLAlchemy fill in"],
)
def test_a_column_that_a_product_adds_is_stored(
    services: Services, tmp_path: Path, model: str, columns: list[str], stored: dict[str, Any]
) -> None:
    """In `User` and `UserCreate`, and nowhere else."""
    shutil.copytree(BACKEND / "app", tmp_path / "app")
    (tmp_path / "tests").symlink_to(BACKEND / "tests")
    edits = [(file, *edit) for file, edit in {**EDITS, "models/user.py": ("\n    roles: list[", model)}.items()]
    for file, old, new in (*edits, ANSWERED):
        source = (tmp_path / "app" / file).read_text()
        assert old in source
        (tmp_path / "app" / file).write_text(source.replace(old, new, 1))
    env = {
        **os.environ,
        "DATABASE_URL": own_database(services, "product"),
        "PYTHONPATH": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", PRODUCT, json.dumps(columns)],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found, rows = json.loads(done.stdout.splitlines()[-1])
    for status, body, asked in found:
        assert (status, body.get("company"), body.get("plan")) == (201, "Engines", "free"), body
        assert (asked == 1) == (services.stack == "server" and not stored)
    for row in rows:
        assert {name: row[name] for name in ("company", "plan", *stored)} == {
            "company": "Engines", "plan": "free", **stored,
        }  # fmt: skip
    assert len(rows) == 2
