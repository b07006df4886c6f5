"""A form is read as strictly as JSON."""

from typing import Annotated

import pytest
from fastapi import Form
from httpx2 import ASGITransport, AsyncClient

from app.api.strict import StrictRouter
from app.core.config import settings
from app.main import create_app
from tests.flows import problem

pytestmark = [pytest.mark.any_database, pytest.mark.any_server]

FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def forms(app):
    router = StrictRouter()

    @router.post("/form")
    async def form(name: Annotated[str, Form()], other: Annotated[str, Form()] = "") -> list[str]:
        return [name, other]

    application = create_app()
    application.include_router(router)
    transport = ASGITransport(application, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url=settings.public_url, trust_env=False) as client:
        yield client


@pytest.mark.parametrize(
    ("body", "name"),
    [(b"name=a+b%C3%A9", "a bé"), ("name=é".encode(), "é"), (b"name=%26%3D", "&="), (b"name=a&unknown=1", "a")],
)
async def test_a_form_is_read(forms: AsyncClient, body, name):
    answer = await forms.post("/form", content=body, headers=FORM)
    assert (answer.status_code, answer.json()) == (200, [name, ""])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"name=a%00", "nul_character"),
        (b"na\x00me=a", "nul_character"),
        (b"name=%ff", "form_invalid"),
        (b"name=\xff", "form_invalid"),
        (b"name=%ed%a0%80", "form_invalid"),
        (b"name=a&name=b", "duplicate_key"),
        (b"&".join(b"%d=1" % n for n in range(200)), "form_invalid"),
        (b"other=a", "missing"),
        (b"", "missing"),
    ],
)
async def test_a_form_that_is_malformed_is_422(forms: AsyncClient, body, code):
    answer = await forms.post("/form", content=body, headers=FORM)
    assert problem(answer) == (422, "validation_failed")
    assert [fault["code"] for fault in answer.json()["errors"]] == [code]


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "text/plain", ""])
async def test_another_type_is_415(forms: AsyncClient, kind):
    answer = await forms.post("/form", content=b"name=a", headers={"content-type": kind})
    assert problem(answer) == (415, "unsupported_media_type")


async def test_a_large_form_is_413(forms: AsyncClient):
    answer = await forms.post("/form", content=b"name=" + b"a" * 2**20, headers=FORM)
    assert problem(answer) == (413, "payload_too_large")
