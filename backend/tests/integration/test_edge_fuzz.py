"""Schemathesis over the OpenAPI document of a running server: what the document says is what the service does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from httpx2 import AsyncClient

from tests import ofrep
from tests.flows import V1, Account, signed_in
from tests.staff import with_roles

# A guessable password and an unknown token fit the document and are refused all the same: no schema can say which.
UNSAYABLE = "positive_data_acceptance"
# OFREP asks for a context with a targetingKey. Who asks is known by the token here, and SDKs evaluate without any.
LESS_IS_TAKEN = "negative_data_rejection"
# Of every operation a few examples and one seed where FAULTS=short; else every phase, more of them, three seeds.
SHORT = os.environ.get("FAULTS") == "short"
SEEDS, EXAMPLES = (("1",), "6") if SHORT else (("1", "2", "3"), "15")
pytestmark = [
    pytest.mark.timeout(3 * 1200),  # s; a seed takes 20 s on two idle cores
    pytest.mark.any_server,
    pytest.mark.no_cover,
]
OWN = "^/api/v[12]/(users/me|tasks|auth/(logout|reauthenticate))"
"""What an access token opens for everybody, of their own."""


def fuzz(folder: Path, url: str, *options: str, document: str = "") -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", document or f"{url}/openapi.json"]
    command += ["--checks", "all", *(["--url", url] if document else [])]
    command += ["--exclude-checks", UNSAYABLE, "--max-examples", EXAMPLES, "--no-color", *options]
    if SHORT:
        command += ["--phases", "examples,fuzzing,stateful"]
    # Schemathesis itself is not measured: its threads under coverage's greenlets can hang Python 3.11 for ever.
    env = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}
    for seed in SEEDS:
        done = subprocess.run(
            [*command, "--seed", seed], cwd=folder, env=env, capture_output=True, text=True, timeout=1200
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def sign_in_as(user: Account, other: Account, folder: Path, **parameters: str) -> None:
    """Have the runs in `folder` sign in as `user`, again where a session ends, and look that `other` gets nothing.

    `parameters` are what is always sent under these names.
    """
    people = [_person("user", user), _person("other", other)]
    (folder / "people.json").write_text(json.dumps({"auth": people}))
    lines = ["[auth.wfc]", 'path = "people.json"', 'user = "user"', 'peers = ["user", "other"]', "[parameters]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in parameters.items()]
    (folder / "schemathesis.toml").write_text("\n".join(lines))


def _person(name: str, account: Account) -> dict[str, Any]:
    """Who signs in how, as Web Fuzzing Commons has it."""
    header = {"sendIn": "header", "sendName": "Authorization", "sendTemplate": "Bearer {token}"}
    login = {
        "endpoint": f"{V1}/auth/login",
        "verb": "POST",
        "contentType": "application/json",
        "payloadRaw": json.dumps({"email": account.email, "password": account.password}),
        "token": {"extractFrom": "body", "extractSelector": "/access_token", **header},
    }
    return {"name": name, "loginEndpointAuth": login}


async def test_what_is_documented_is_what_is_done_for_strangers(server, tmp_path):
    fuzz(tmp_path, (await server()).url)


async def test_what_is_documented_is_what_is_done_for_users(server, tmp_path):
    """As one of two: whatever the one can read by its id is asked for as the other too, who may not see it."""
    url = (await server()).url
    async with AsyncClient(base_url=url, trust_env=False) as client:
        user, other = await signed_in(client), await signed_in(client)
        sign_in_as(user, other, tmp_path)
        fuzz(tmp_path, url, "--include-path-regex", OWN, "--exclude-name", f"DELETE {V1}/users/me")
        for account in (user, other):
            assert (await account.login()).status_code == 200
            assert (await account.me()).json()["email"] == account.email


async def test_whatever_is_sent_with_the_ids_of_somebody_else_ends_nothing_of_theirs(server, tmp_path):
    url = (await server()).url
    async with AsyncClient(base_url=url, trust_env=False) as client:
        user, other = await signed_in(client), await signed_in(client)

        async def belongings() -> list[Any]:
            lists = (f"{V1}/tasks", f"{V1}/users/me/sessions")
            found = [(await client.get(path, headers=other.bearer)).json()["items"] for path in lists]
            # A worker that runs beside may end the task meanwhile; nobody else may stop it.
            return [[(one["id"], one.get("status") == "cancelled") for one in items] for items in found]

        before = await belongings()
        ((task, _),), ((session, _),) = before
        sign_in_as(user, other, tmp_path, id=task, session_id=session)
        fuzz(tmp_path, url, "--include-path-regex", OWN + r".*\{")
        assert await belongings() == before


async def test_what_is_documented_is_what_is_done_for_admins(server, tmp_path):
    url = (await server()).url
    async with AsyncClient(base_url=url, trust_env=False) as client:
        admin = await with_roles(client, "admin")
        bearer = f"Authorization: {admin.bearer['Authorization']}"
        fuzz(tmp_path, url, "--include-path-regex", f"^{V1}/(admin|users/me/security)", "--header", bearer)


async def test_the_flags_are_what_their_protocol_has_published(server, tmp_path):
    """For strangers, for a user, and for an admin, who may name others."""
    url = (await server()).url
    published = tmp_path / "ofrep.json"
    published.write_text(json.dumps(ofrep.document("demo_banner")))
    async with AsyncClient(base_url=url, trust_env=False) as client:
        user, admin = await signed_in(client), await with_roles(client, "admin")
        for bearer in ({}, user.bearer, admin.bearer):
            sent = [word for name, value in bearer.items() for word in ("--header", f"{name}: {value}")]
            fuzz(tmp_path, url, *sent, "--exclude-checks", f"{UNSAYABLE},{LESS_IS_TAKEN}", document=str(published))
