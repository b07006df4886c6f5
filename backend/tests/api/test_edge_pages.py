"""What stands at the root, all from the package."""

import re

import pytest
from httpx2 import AsyncClient

from app.core.errors import catalogue

pytestmark = [pytest.mark.any_database, pytest.mark.any_server]

OURS = re.compile(r'(?:href|src|spec-url)="([^"]*)"')


@pytest.mark.parametrize(
    "page",
    [
        "/docs",
        "/redoc",
        "/account/verify?token=x",
        "/account/reset?token=x",
        "/account/undo?token=x",
        "/account/forgot",
        "/problems",
        "/problems/email_taken",
    ],
)
async def test_a_page_has_everything_from_here_and_no_script_inside(client: AsyncClient, page):
    answer = await client.get(page)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; frame-ancestors 'none'")
    assert "script-src 'self';" in policy
    assert "http" not in policy
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|<style|\sstyle=", answer.text)
    for link in OURS.findall(answer.text):
        assert "//" not in link
        assert (await client.get(str(answer.url.join(link)))).status_code == 200, link


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/docs/swagger-ui-bundle.js", "javascript"),
        ("/docs/swagger-ui.css", "text/css"),
        ("/docs/docs.js", "javascript"),
        ("/docs/favicon.png", "image/png"),
        ("/redoc/redoc.standalone.js", "javascript"),
        ("/account/verify.js", "javascript"),
        ("/account/reset.js", "javascript"),
        ("/account/undo.js", "javascript"),
        ("/account/link.js", "javascript"),
        ("/account/forgot.js", "javascript"),
        ("/account/page.css", "text/css"),
    ],
)
async def test_assets_are_served_with_their_type_and_may_be_kept(client: AsyncClient, path, kind):
    answer = await client.get(path)
    assert answer.status_code == 200
    assert kind in answer.headers["content-type"]
    assert "max-age" in answer.headers["cache-control"]


async def test_every_error_has_a_page(client: AsyncClient):
    listed = await client.get("/problems")
    for code, error in catalogue().items():
        page = await client.get(f"/problems/{code}")
        assert page.status_code == 200
        assert f"<h1>{error.title()}</h1>".replace("'", "&#39;") in page.text
        assert f'href="problems/{code}"' in listed.text
    assert (await client.get("/problems/no_such_code")).status_code == 404


async def test_a_password_is_hidden_and_may_be_pasted_and_kept_by_a_manager(client: AsyncClient):
    (field,) = re.findall(r"<input[^>]*password[^>]*>", (await client.get("/account/reset?token=x")).text)
    assert 'type="password"' in field
    assert 'autocomplete="new-password"' in field
    assert "maxlength" not in field, "a browser cuts what is pasted, and says nothing: the server refuses it instead"
    for script in ("reset", "link"):
        assert not re.search("paste|keydown|beforeinput", (await client.get(f"/account/{script}.js")).text)


@pytest.mark.parametrize("page", ["verify", "reset", "undo"])
async def test_the_page_of_a_mailed_link_keeps_the_token_to_itself(client: AsyncClient, page: str):
    answer = await client.get(f"/account/{page}?token=verysecret<script>")
    assert "verysecret" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_the_signing_keys_are_public_and_may_be_kept(client: AsyncClient):
    answer = await client.get("/.well-known/jwks.json")
    assert "max-age" in answer.headers["cache-control"]
    keys = answer.json()["keys"]
    assert len(keys) >= 1
    for key in keys:
        assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "EdDSA", "sig")
        assert "d" not in key
    again = await client.get("/.well-known/jwks.json", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("asked", ["bytes=0-9", "bytes=x", "bytes=99999999-", "lines=1-2", "bytes=9-1", "bytes=-0"])
@pytest.mark.parametrize("path", ["/account/page.css", "/docs/swagger-ui-bundle.js"])
async def test_a_file_is_given_whole_whatever_part_is_asked_for(client: AsyncClient, path: str, asked: str) -> None:
    whole = await client.get(path)
    answer = await client.get(path, headers={"range": asked})
    assert (answer.status_code, answer.content) == (200, whole.content)
    assert answer.headers["accept-ranges"] == "none"
