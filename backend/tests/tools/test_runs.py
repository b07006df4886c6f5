"""A test run itself: it fails for what it logged, and leaves nothing behind when it is killed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import redis

from tests.processes import alive
from tests.services import BACKEND, Services, execute
from tests.waiting import eventually

PLANTED = """
import sys

def test_harmless():
    print({line!r}, file=sys.stderr)
"""

STARTED = """
from tests.databases import empty_database
from tests.services import Running
import redis, time

running = Running("server")
empty_database(running.services, "planted")
redis.Redis.from_url(running.services.redis_url).set(running.services.redis_prefix("planted"), 1)
print(running.services.to_json(), *(process.pid for process, _ in running.processes), sep="\\n", flush=True)
time.sleep(600)
"""


def run_in_a_copy(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run pytest over one test that logs `line`, with this conftest."""
    for name in ("app", "alembic", "alembic.ini", "pyproject.toml"):
        (folder / name).symlink_to(BACKEND / name)
    shutil.copytree(BACKEND / "tests", folder / "tests", ignore=lambda where, names: [n for n in names if n == "unit"])
    (folder / "tests" / "unit").mkdir()
    (folder / "tests" / "unit" / "test_planted.py").write_text(PLANTED.format(line=line))
    env = {**os.environ, "NEOFORGE_TEST_STACK": "embedded"}
    env.pop("COVERAGE_PROCESS_CONFIG", None)  # what it runs of the application was measured elsewhere
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def test_a_run_that_logs_an_address_fails_although_every_test_passed(tmp_path: Path) -> None:
    done = run_in_a_copy(tmp_path, '{"event": "user_registered", "email": "eve@example.com"}')
    assert "1 passed" in done.stdout
    assert "pytest-main.log:2 says an email address" in done.stdout
    assert "eve@example.com" not in done.stdout
    assert done.returncode == 1


def test_a_run_that_logs_nothing_secret_passes(tmp_path: Path) -> None:
    done = run_in_a_copy(tmp_path, '{"event": "user_registered"}')
    assert done.returncode == 0, done.stdout


async def test_a_killed_run_leaves_no_server_no_database_no_key_and_no_file() -> None:
    """Where the servers were given, they stay, without what was the run's own."""
    process = subprocess.Popen([sys.executable, "-c", STARTED], cwd=BACKEND, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        services = Services.from_json(process.stdout.readline())
        given = [url for name in ("TEST_DATABASE_URL", "TEST_REDIS_URL") if (url := os.environ.get(name))]
        pids = [int(process.stdout.readline()) for _ in range(2 - len(given))]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    await eventually(lambda: not Path(services.folder).exists(), within=60)
    await eventually(lambda: not any(alive(pid) for pid in pids))  # a server may need a moment, and so may who reaps it
    if services.postgres_url in given:
        names = [row[0] for row in execute(services.postgres_url, "SELECT datname FROM pg_database")]
        assert not [name for name in names if services.run in name]
    if services.redis_url in given:
        client = redis.Redis.from_url(services.redis_url, decode_responses=True)
        assert not [key for key in client.scan_iter(count=1000) if services.run in key]
        client.close()
