"""What a process settles with the operating system, and how its log lines get out whatever becomes of the outputs."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.process import CannotRun, listen, url_host
from tests.services import BACKEND

LOG = """
import structlog
from app.core.logging import set_up
set_up("test")
"""


def python(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **options.pop("env", {})}  # type: ignore[dict-item]  # given as a mapping
    return subprocess.run(
        [sys.executable, "-c", code], cwd=BACKEND, env=env, text=True, timeout=60,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )  # fmt: skip


def test_a_process_whose_parent_ended_before_it_looked_ends_too() -> None:
    code = "import signal; from app.core.process import die_with_parent; die_with_parent(1, signal.SIGINT); "
    ended = python(code + "print('outlived')")
    assert ended.returncode == -signal.SIGINT
    assert "outlived" not in ended.stdout


def test_an_address_that_is_no_address_is_told() -> None:
    with pytest.raises(CannotRun, match=r"HOST no-such-host\.invalid is not an address"):
        listen("no-such-host.invalid", 0)


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(CannotRun, match=r"cannot listen on 192\.0\.2\.1 .* set HOST and PORT"):
        listen("192.0.2.1", 0)  # of the documentation's network: RFC 5737


def test_a_taken_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(CannotRun, match="is taken"):
        listen("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("localhost", "localhost")]
)
def test_a_host_is_shown_so_that_it_can_be_opened(host: str, shown: str) -> None:
    assert url_host(host) == shown


def test_a_name_that_the_output_cannot_write_is_written_in_its_letters() -> None:
    strict = "import sys; sys.stderr.reconfigure(encoding='ascii', errors='strict')"
    written = python(
        f"{strict}{LOG}structlog.get_logger().info('thing_done', name='Zoë')", env={"LOG_FORMAT": "console"}
    )
    assert written.returncode == 0, written.stderr
    assert r"Zo\xeb" in written.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_under_the_log_fails_nothing() -> None:
    with Path("/dev/full").open("w") as full:
        done = python(LOG + "structlog.get_logger().info('lost'); print('went on')", stderr=full)
    assert done.stdout == "went on\n"


def test_debug_shows_the_statements() -> None:
    code = LOG + "import logging; print(logging.getLogger('sqlalchemy.engine').getEffectiveLevel() == logging.INFO)"
    assert python(code, env={"DEBUG": "true", "LOG_LEVEL": "WARNING"}).stdout == "True\n"
    assert python(code, env={"DEBUG": "false", "LOG_LEVEL": "WARNING"}).stdout == "False\n"


def test_ctrl_c_is_no_fault_of_the_process() -> None:
    stopped = python(LOG + "raise KeyboardInterrupt")
    assert stopped.returncode == -signal.SIGINT
    assert "process_failed" not in stopped.stderr
    failed = python(LOG + "raise ValueError('password=hunter2')", env={"LOG_FORMAT": "json"})
    assert failed.returncode == 1
    line = json.loads(failed.stderr)
    assert (line["event"], "hunter2" in failed.stderr) == ("process_failed", False)
