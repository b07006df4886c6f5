"""The environment of a test process. It is put in place before `app` is imported, whose settings are read then."""

import os
import re
import secrets
from pathlib import Path

from tests.processes import free_port
from tests.services import BACKEND, Services

PUBLIC_URL = "http://127.0.0.1:8000"


def choose_stack() -> str:
    """NEOFORGE_TEST_STACK, else `server` where TEST_DATABASE_URL is set, else `embedded`."""
    return os.environ.get("NEOFORGE_TEST_STACK") or ("server" if os.environ.get("TEST_DATABASE_URL") else "embedded")


def prepare(services: Services, name: str) -> None:
    """Point every setting at what is this process's own; none of the developer's stays."""
    config = (BACKEND / "app" / "core" / "config.py").read_text()
    for field in re.findall(r"^    (\w+): .*= Field\(", config, re.MULTILINE):
        os.environ.pop(field.upper(), None)
    data = Path(services.folder) / f"data-{name}"
    data.mkdir(mode=0o700)
    os.environ.update(
        NEOFORGE_TEST_STACK=services.stack,
        ENVIRONMENT="test",
        DATABASE_URL=services.database(name),
        REDIS_URL=services.redis_url,
        REDIS_PREFIX=services.redis_prefix(name),
        SECRET_KEY=secrets.token_urlsafe(48),
        DATA_DIR=str(data),
        PUBLIC_URL=PUBLIC_URL,
        SMTP_URL=f"smtp://127.0.0.1:{free_port()}",
        MAIL_FROM="no-reply@localhost",
        RATE_LIMIT_ENABLED="false",  # the tests of the limits start servers of their own, which have them
        WORKER_METRICS_PORT="0",
        SCHEDULER_METRICS_PORT="0",
        LOG_FORMAT="json",
        LOG_LEVEL="DEBUG",
        PYTHONPATH=str(BACKEND),
    )
