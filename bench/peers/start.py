"""Starting the peers, and signing in to them."""

import json
import os
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from bench import ROOT
from bench.stack import Stack, post, wait_for
from tests.processes import free_port, launch
from tests.services import execute

PYTHON = ROOT / ".venv-bench" / "bin" / "python"
POCKETBASE = PYTHON.with_name("pocketbase")
EMAIL, PASSWORD = "ada@example.com", "plum-otter-42-lantern"


def are_installed() -> bool:
    return PYTHON.exists() and POCKETBASE.exists()


def database(ours: Stack, name: str) -> str:
    """A database of its own on the server of the run."""
    execute(ours.database_url, f'CREATE DATABASE "{name}"')
    return ours.database_url.rpartition("/")[0] + f"/{name}"


def fastapi_users(ours: Stack) -> tuple[int, str]:
    """The port, and an access token."""
    port = free_port()
    name = f"peer_users_{secrets.token_hex(4)}"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PEER_SECRET": secrets.token_hex(32)}
    env["PEER_DATABASE"] = database(ours, name)
    command = [str(PYTHON), "-m", "uvicorn", "bench.peers.users_app:app", "--port", str(port), "--no-access-log"]
    ours.started.append(launch([*command, "--log-level", "warning"], ours.folder / "users.log", env=env, cwd=ROOT))
    url = f"http://127.0.0.1:{port}"
    wait_for(f"{url}/users/me")
    post(f"{url}/auth/register", {"email": EMAIL, "password": PASSWORD})
    form = urlencode({"username": EMAIL, "password": PASSWORD}).encode()
    with urlopen(Request(f"{url}/auth/login", form), timeout=30) as answer:
        return port, str(json.load(answer)["access_token"])


def pocketbase(ours: Stack) -> tuple[int, str, str]:
    """The port, the path of the caller's own record, and a token. It keeps everything in SQLite files of its own."""
    port, folder = free_port(), ours.folder / "pocketbase"
    said = ["--dir", str(folder)]
    admin = ["superuser", "upsert", "root@example.com", PASSWORD]
    subprocess.run([POCKETBASE, *admin, *said], check=True, capture_output=True)
    command = [str(POCKETBASE), "serve", f"--http=127.0.0.1:{port}", *said]
    ours.started.append(launch(command, ours.folder / "pocketbase.log", env=dict(os.environ), cwd=Path(ours.folder)))
    url = f"http://127.0.0.1:{port}/api/collections"
    wait_for(f"http://127.0.0.1:{port}/api/health")
    root = _when_it_can(f"{url}/_superusers/auth-with-password", {"identity": "root@example.com", "password": PASSWORD})
    made = {"email": EMAIL, "password": PASSWORD, "passwordConfirm": PASSWORD, "verified": True}
    _post_as(root["token"], f"{url}/users/records", made)
    signed_in: dict[str, Any] = post(f"{url}/users/auth-with-password", {"identity": EMAIL, "password": PASSWORD})
    return port, f"/api/collections/users/records/{signed_in['record']['id']}", str(signed_in["token"])


def _when_it_can(url: str, body: dict[str, str]) -> dict[str, str]:
    """It makes its collections while it answers already."""
    for _ in range(100):
        try:
            return post(url, body)
        except HTTPError:
            time.sleep(0.1)
    return post(url, body)


def _post_as(token: str, url: str, body: dict[str, Any]) -> None:
    sent = {"Content-Type": "application/json", "Authorization": token}
    urlopen(Request(url, json.dumps(body).encode(), sent), timeout=30).close()
