"""What the guide runs in containers, run here with the working directory, environment and user that Dockerfile and
compose files give, in a copy that lies as in the image. Their own tools need a container engine: `make image-test`."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.compose import DEV, Stage, load
from tests.databases import empty_database
from tests.services import BACKEND, Services

pytestmark = [pytest.mark.any_server, pytest.mark.no_cover]

BIN = Path(sys.executable).parent
LEFT_OUT = shutil.ignore_patterns(".*_cache", ".coverage*", "htmlcov", ".hypothesis", ".schemathesis")
SOURCES = ("app", "alembic", "tests", "alembic.ini", "pyproject.toml")


class Container:
    """A service of the development stack: `run` is `docker compose run --rm <service> …` as far as one process goes."""

    def __init__(self, service: str, root: Path, database: str, services: Services) -> None:
        body: dict[str, Any] = load(DEV, {})["services"][service]
        stage = Stage(body["build"]["target"])
        self.service, self.body, self.root = service, body, root
        self.workdir = root / Path(stage.workdir).relative_to("/app")
        env = {**stage.env, **{name: str(value) for name, value in body["environment"].items()}}
        given = {"DATABASE_URL": database, "REDIS_URL": services.redis_url, "DATA_DIR": str(root / "data")}
        if services.postgres_url:
            given |= {"TEST_DATABASE_URL": services.postgres_url, "TEST_REDIS_URL": services.redis_url}
        else:  # on this stack the tests bring their own
            env = {name: value for name, value in env.items() if not name.startswith("TEST_")}
        env |= {name: value for name, value in given.items() if name in env}
        self.env = {
            **env,
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(root),
            "PYTHONPATH": str(self.workdir),
        }
        self.user = int(body["build"]["args"]["UID"])

    def run(self, *command: str) -> str:
        """What it wrote. Runs as the service's user where this one may become it and Python lies where all may read."""
        options: dict[str, Any] = {}
        if os.geteuid() == 0 and _may_run_as(self.user):
            options = {"user": self.user, "group": self.user, "extra_groups": []}
            subprocess.run(["chown", "-R", f"{self.user}:{self.user}", self.root], check=True)
        program = [str(BIN / command[0]), *command[1:]]
        done = subprocess.run(
            program,
            cwd=self.workdir,
            env=self.env,
            text=True,
            timeout=280,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **options,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@cache
def _may_run_as(user: int) -> bool:
    try:
        tried = subprocess.run([sys.executable, "-c", "import sqlmodel"], user=user, capture_output=True)
    except OSError:
        return False
    return tried.returncode == 0


@pytest.fixture
def container(services: Services) -> Iterator[Any]:
    root = Path(tempfile.mkdtemp(prefix="neoforge-app-"))
    root.chmod(0o755)
    backend = root / "backend"
    backend.mkdir()
    (root / "data").mkdir()
    for name in SOURCES:
        source = BACKEND / name
        shutil.copytree(source, backend / name, ignore=LEFT_OUT) if source.is_dir() else shutil.copy(source, backend)
    embedded = f"sqlite:///{root}/data/neoforge.db"
    database = empty_database(services, "containers") if services.postgres_url else embedded
    yield lambda service: Container(service, root, database, services)
    shutil.rmtree(root)


def test_the_mounts_put_the_sources_where_the_image_has_them() -> None:
    services = load(DEV, {})["services"]
    for name in ("api", "worker", "scheduler", "mail", "flower"):
        assert ".:/app/backend" in services[name]["volumes"], name
        assert Stage(services[name]["build"]["target"]).workdir == "/app/backend"
    assert services["api_test"]["volumes"] == ["..:/app"]
    assert services["api"]["build"]["context"] == "."


def test_the_stack_speaks_to_its_own_servers() -> None:
    services = load(DEV, {})["services"]
    for name in ("api", "worker", "scheduler"):
        env = services[name]["environment"]
        for variable in ("DATABASE_URL", "REDIS_URL", "SMTP_URL"):
            assert urlsplit(env[variable]).hostname in services, (name, variable)
    for variable in ("TEST_DATABASE_URL", "TEST_REDIS_URL"):
        assert urlsplit(services["api_test"]["environment"][variable]).hostname in services


def test_alembic_in_the_api_container(container) -> None:
    api = container("api")
    api.run("alembic", "upgrade", "head")
    assert "(head)" in api.run("alembic", "current")
    assert "No new upgrade operations detected" in api.run("alembic", "check")

    versions = api.workdir / "alembic" / "versions"
    before = set(versions.glob("*.py"))
    api.run("alembic", "revision", "--autogenerate", "-m", "add nothing yet")
    (made,) = set(versions.glob("*.py")) - before
    assert made.stat().st_uid in (api.user, os.geteuid())
    assert made.read_text().count("    pass\n") == 2, "the models and the migrations say the same"
    api.run("alembic", "upgrade", "head")

    assert "(head)" not in api.run("alembic", "downgrade", "-1") + api.run("alembic", "current")
    made.unlink()
    api.run("alembic", "downgrade", "base")


def test_one_test_in_the_test_container(container) -> None:
    assert "1 passed" in container("api_test").run("pytest", "tests/api/test_auth.py::test_login")


@pytest.mark.any_database
def test_coverage_as_a_page_in_the_test_container(container) -> None:
    tests = container("api_test")
    told = tests.run("pytest", "--cov", "--cov-report=html", "tests/unit/test_leaks.py")
    assert "Coverage HTML written" in told
    assert (tests.workdir / "htmlcov" / "index.html").is_file()


@pytest.mark.any_database
def test_the_integration_tests_are_found_in_the_test_container(container) -> None:
    told = container("api_test").run("pytest", "tests/integration/", "--collect-only", "-q")
    assert "test_main_job.py::test_register_verify_log_in_change_refresh_log_out" in told
