"""`make dev` on its embedded parts: a real supervisor with real children, killed and stopped in every way."""

import asyncio
import os
import re
import shutil
import signal
import smtplib
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from httpx2 import TransportError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.dev import Dev
from tests.flows import new_email
from tests.processes import end
from tests.services import BACKEND
from tests.waiting import eventually

pytestmark = [pytest.mark.timeout(240), pytest.mark.any_database, pytest.mark.any_server]


@pytest.fixture(autouse=True)
def _unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under coverage each of its processes starts half as slow again; test_dev_parts has the same lines measured."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture
async def dev(tmp_path: Path) -> AsyncIterator[Dev]:
    running = Dev(tmp_path)
    try:
        await running.ready()
        yield running
    finally:
        await running.close()


async def test_it_says_where_everything_is_and_everything_is_there(dev: Dev) -> None:
    output = dev.output()
    for line in (f"API      {dev.url}/api/v1", f"Docs     {dev.url}/docs", f"Mailbox  {dev.url}/dev/mailbox", "Ctrl-C"):
        assert line in output
    assert (await dev.client.get("/docs")).status_code == 200
    assert (await dev.client.get("/dev/mailbox")).json() == {"items": [], "next_cursor": None}

    email = new_email()
    registered = await dev.client.post(
        "/api/v1/auth/register", json={"email": email, "password": "plum-otter-42-lantern"}
    )
    assert registered.status_code == 201, registered.text

    async def mails() -> list[dict[str, object]]:
        return (await dev.client.get("/dev/mailbox", params={"to": email})).json()["items"]  # type: ignore[no-any-return] # untyped by nature: JSON

    [mail] = await eventually(mails)
    assert mail["to"] == [email]
    assert "token=" in str(mail["text"])

    assert stat.S_IMODE(dev.data.stat().st_mode) == 0o700
    for private in ("stack.json", "valkey/password", "valkey/valkey.conf", "neoforge.db", "secret_key"):
        assert stat.S_IMODE((dev.data / private).stat().st_mode) == 0o600, private
    password = (dev.data / "valkey" / "password").read_text()
    commands = [" ".join(child.cmdline()) for child in psutil.Process(dev.process.pid).children(recursive=True)]
    assert len(commands) >= 4
    assert not [command for command in commands if password in command]


async def test_the_first_session_of_the_readme_goes_as_it_says(dev: Dev) -> None:
    _, _, rest = (BACKEND.parent / "README.md").read_text().partition("## A first session")
    session = rest.partition("```sh\n")[2].partition("```")[0].replace("http://127.0.0.1:8000", dev.url)
    done = await asyncio.to_thread(
        subprocess.run, ["bash", "-ec", session], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"HTTP/1.1 (\d+)", done.stdout) == ["204", "204", "401"]
    for told in ('"is_verified":false', '"is_verified":true', '"full_name":"Ada Lovelace"', '"session_revoked"'):
        assert told in done.stdout


async def test_sigterm_ends_it_with_0_and_leaves_nothing_behind(dev: Dev) -> None:
    assert len(dev.left()) >= 5
    assert end(dev.process, signal.SIGTERM, within=40) == 0
    await dev.all_gone()
    assert not (dev.data / "stack.json").exists()


async def test_ctrl_c_ends_it_with_0(dev: Dev) -> None:
    assert end(dev.process, signal.SIGINT, within=40) == 0
    await dev.all_gone()


async def test_a_second_one_on_the_same_data_is_refused_in_one_line(dev: Dev) -> None:
    refused = _dev({**dev.env, "PORT": "0"})
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert str(dev.data) in refused.stderr
    assert "DATA_DIR" in refused.stderr
    refused = _neoforge("reset", "--yes", env=dev.env)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert (dev.data / "neoforge.db").exists()


async def test_a_taken_port_is_refused_in_one_line_and_another_one_runs_beside(dev: Dev, tmp_path: Path) -> None:
    refused = _dev({**dev.env, "DATA_DIR": str(tmp_path / "other")})
    assert refused.returncode == 1
    assert refused.stderr == f"neoforge: port {dev.port} on 127.0.0.1 is taken: stop what listens there, or set PORT\n"
    (tmp_path / "beside").mkdir()
    beside = Dev(tmp_path / "beside")
    try:
        await beside.ready()
        assert (await beside.client.get("/api/v1/health")).status_code == 200
        assert (await dev.client.get("/api/v1/health")).status_code == 200
        assert beside.stack()["redis_url"] != dev.stack()["redis_url"]
    finally:
        await beside.close()


async def test_kill_9_leaves_no_child_and_the_next_start_goes_on(dev: Dev) -> None:
    redis_url = dev.stack()["redis_url"]
    _send_mail(dev, "before@example.com")
    dev.kill()
    await dev.all_gone()
    dev.start()
    await dev.ready()
    assert dev.stack()["redis_url"] == redis_url
    assert [mail["to"] for mail in (await dev.client.get("/dev/mailbox")).json()["items"]] == [["before@example.com"]]


async def test_a_killed_valkey_comes_back_where_it_was_with_what_it_had(dev: Dev) -> None:
    url, pid = dev.stack()["redis_url"], dev.child("valkey")
    async with Redis.from_url(url) as redis:
        await redis.set("kept", "yes")
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: dev.child("valkey") not in (0, pid))

    async def kept() -> bool:
        async with Redis.from_url(url) as redis:
            try:
                return await redis.get("kept") == b"yes"
            except RedisError:
                return False

    await eventually(kept)


async def test_killed_parts_are_started_again(dev: Dev) -> None:
    parts = ("api", "worker", "scheduler")
    before = {name: dev.child(name) for name in parts}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    assert (await dev.client.get("/api/v1/health", timeout=60)).status_code == 200  # it waits rather than being refused
    await eventually(lambda: all(dev.child(name) not in (0, before[name]) for name in parts))
    for name in parts:
        assert f"{name} ended (signal 9)" in dev.output()


async def test_a_change_of_the_code_is_seen(tmp_path: Path) -> None:
    """In a copy: the others' supervisors watch the real one."""
    backend = tmp_path / "project" / "backend"
    for name in ("app", "alembic"):
        shutil.copytree(BACKEND / name, backend / name)
    shutil.copy(BACKEND / "alembic.ini", backend)
    dev = Dev(tmp_path, backend)
    try:
        await dev.ready()
        pids = {name: dev.child(name) for name in ("api", "worker", "scheduler")}
        version = backend / "app" / "__init__.py"
        version.write_text(re.sub(r'__version__ = ".*"', '__version__ = "9.9.9"', version.read_text()))

        async def seen() -> bool:
            try:
                answer = await dev.client.get("/api/v1/health", timeout=60)
            except TransportError:  # it is being started anew
                return False
            return bool(answer.json()["version"] == "9.9.9")

        await eventually(seen)
        await eventually(lambda: all(dev.child(name) not in (0, pid) for name, pid in pids.items()))
        assert "changed: __init__.py; starting anew" in dev.output()
    finally:
        await dev.close()


async def test_reset_empties_it_and_nothing_else(dev: Dev) -> None:
    (dev.data / "mine.txt").write_text("mine")
    end(dev.process, within=40)
    asked = _neoforge("reset", env=dev.env)
    assert asked.returncode == 2
    assert (dev.data / "neoforge.db").exists()
    assert _neoforge("reset", "--yes", env=dev.env).returncode == 0
    assert {path.name for path in dev.data.iterdir()} == {"mine.txt", "lock"}


def _dev(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return _neoforge("dev", env=env)


def _neoforge(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", *arguments]
    return subprocess.run(
        command, env=env, cwd=BACKEND, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
    )


def _send_mail(dev: Dev, to: str) -> None:
    host, _, port = dev.stack()["smtp_url"].removeprefix("smtp://").partition(":")
    with smtplib.SMTP(host, int(port)) as server:
        server.sendmail("a@example.com", to, "Subject: hello\r\n\r\nhello\r\n")
