"""Schemathesis over the OpenAPI document of a running server: what the document says is what the service does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from httpx2 import AsyncClient

from tests.flows import V1, signed_in
from tests.staff import with_roles

# A guessable password and an unknown token fit the document and are refused all the same: no schema can say which.
UNSAYABLE = "positive_data_acceptance"
# Of every operation a few examples and one seed where FAULTS=short; else every phase, more of them, three seeds.
SHORT = os.environ.get("FAULTS") == "short"
SEEDS, EXAMPLES = (("1",), "6") if SHORT else (("1", "2", "3"), "15")
pytestmark = pytest.mark.timeout(1800)


def fuzz(folder: Path, url: str, *options: str) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json", "--checks", "all"]
    command += ["--exclude-checks", UNSAYABLE, "--max-examples", EXAMPLES, "--no-color", *options]
    if SHORT:
        command += ["--phases", "examples,fuzzing,stateful"]
    for seed in SEEDS:
        done = subprocess.run([*command, "--seed", seed], cwd=folder, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


async def test_what_is_documented_is_what_is_done_for_strangers(server, tmp_path):
    fuzz(tmp_path, (await server()).url)


async def test_what_is_documented_is_what_is_done_for_users(server, tmp_path):
    url = (await server()).url
    async with AsyncClient(base_url=url, trust_env=False) as client:
        account = await signed_in(client)
        bearer = f"Authorization: {account.bearer['Authorization']}"
        own = ("--include-path", f"{V1}/users/me", "--include-path", "/api/v2/users/me", "--exclude-method", "DELETE")
        fuzz(tmp_path, url, *own, "--header", bearer)
        assert (await account.me()).status_code == 200


async def test_what_is_documented_is_what_is_done_for_admins(server, tmp_path):
    url = (await server()).url
    async with AsyncClient(base_url=url, trust_env=False) as client:
        admin = await with_roles(client, "admin")
        bearer = f"Authorization: {admin.bearer['Authorization']}"
        fuzz(tmp_path, url, "--include-path-regex", f"^{V1}/(admin|users/me/security)", "--header", bearer)
