"""The small programs that only containers start: the API's health check, the mail catcher, Flower's launcher."""

import asyncio
import os
import smtplib
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.dev import catch
from app.dev.mailbox import Mailbox
from app.tools import healthcheck
from app.worker import flower
from tests.processes import end, free_port, launch
from tests.services import BACKEND, Services
from tests.stack import Server
from tests.waiting import eventually

pytestmark = [pytest.mark.any_database, pytest.mark.any_server]

START = Callable[..., Awaitable[Server]]


async def test_the_health_check_asks_by_the_public_name(server: START, monkeypatch: pytest.MonkeyPatch) -> None:
    public = "https://api.example.com"
    api = await server(PUBLIC_URL=public)
    monkeypatch.setenv("PORT", api.url.rpartition(":")[2])
    monkeypatch.setenv("PUBLIC_URL", public)
    assert await asyncio.to_thread(healthcheck.healthy)
    monkeypatch.setenv("PUBLIC_URL", "https://another.example.com")
    assert not await asyncio.to_thread(healthcheck.healthy)
    monkeypatch.setenv("PORT", str(free_port()))
    assert not await asyncio.to_thread(healthcheck.healthy)


async def test_the_catcher_keeps_mail_until_it_is_told_to_end(services: Services, tmp_path: Path) -> None:
    port = free_port()
    env = {
        **os.environ,
        "ENVIRONMENT": "development",
        "DATA_DIR": str(tmp_path),
        "HOST": "127.0.0.1",
        "MAIL_PORT": str(port),
    }
    process = launch([sys.executable, "-m", "app.dev.catch"], services.log("catch"), env=env, cwd=BACKEND)

    def send() -> bool:
        try:
            with smtplib.SMTP("127.0.0.1", port, timeout=5) as smtp:
                smtp.sendmail("from@localhost", ["to@localhost"], "Subject: here\n\nbody")
        except ConnectionError:
            return False
        return True

    await eventually(lambda: asyncio.to_thread(send))
    assert [mail.subject for mail in Mailbox(tmp_path / "mailbox").list()] == ["here"]
    assert end(process) == 0


def test_the_catcher_is_for_development_only() -> None:
    with pytest.raises(SystemExit, match="is for development"):
        catch.main()


@pytest.mark.parametrize("login", ["", "neoforge", "neoforge:", ":password", "a:b,", "a:b,:"])
def test_flower_does_not_start_without_a_login(login: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_BASIC_AUTH", login)
    with pytest.raises(SystemExit, match="FLOWER_BASIC_AUTH"):
        flower.main()


async def test_the_health_check_as_containers_run_it(server: START) -> None:
    running = await server()

    def check(port: str) -> int:
        command = [sys.executable, "-m", "app.tools.healthcheck"]
        return subprocess.run(command, cwd=BACKEND, env={**os.environ, "PORT": port}, timeout=30).returncode

    assert await asyncio.to_thread(check, running.url.rpartition(":")[2]) == 0
    assert await asyncio.to_thread(check, str(free_port())) == 1
