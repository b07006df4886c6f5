"""How the commands end when the one who started them goes, says no, or lets them touch nothing; and on a terminal."""

import ctypes
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.services import BACKEND
from tests.terminals import read_to_end
from tests.unit.test_cli import assert_one_line, neoforge

PASSWORD = "plum-otter-42-lantern"
DEVELOPMENT = {"ENVIRONMENT": "development"}


def on_a_terminal(answer: str, *arguments: str, **env: str) -> tuple[int, str]:
    """Exit code and all that the terminal showed. Answers the first question; `\\x03` is Ctrl-C."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", *arguments], env={**os.environ, **env}, cwd=BACKEND,
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=_take_terminal,
    )  # fmt: skip
    os.close(theirs)
    answers = [answer.encode()] if answer else []

    def reply(shown: bytes) -> None:
        if answers and shown.rstrip().endswith((b":", b"?")):
            os.write(ours, answers.pop())

    shown = read_to_end(ours, reply)
    return process.wait(60), shown


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_the_password_of_an_admin_is_asked_for_and_not_shown() -> None:
    code, shown = on_a_terminal(f"{PASSWORD}\n", "users", "create-admin", "--email", "asked@example.com")
    assert code == 0, shown
    assert "Password" in shown
    assert PASSWORD not in shown


def test_ctrl_c_at_a_question_stops_in_one_line() -> None:
    code, shown = on_a_terminal("\x03", "users", "create-admin", "--email", "stopped@example.com")
    assert (code, shown.splitlines()[-1]) == (1, "neoforge: stopped")
    assert "Traceback" not in shown


@pytest.mark.parametrize(("answer", "code", "left"), [("n\n", 1, True), ("y\n", 0, False)])
def test_reset_asks_first(answer: str, code: int, left: bool, tmp_path: Path) -> None:
    (tmp_path / "neoforge.db").write_text("something")
    ended, shown = on_a_terminal(answer, "reset", DATA_DIR=str(tmp_path), **DEVELOPMENT)
    assert (ended, (tmp_path / "neoforge.db").exists()) == (code, left), shown


def test_reset_of_what_was_never_made_does_nothing(tmp_path: Path) -> None:
    done = neoforge("reset", DATA_DIR=str(tmp_path / "none"), **DEVELOPMENT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "none").exists()


def test_the_help_lists_the_commands_in_their_order() -> None:
    shown = neoforge("--help")
    commands = shown.stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    listed = [line.split()[0] for line in commands.splitlines()]
    assert (listed[0], listed[-1]) == ("dev", "openapi")
    assert "create-admin" in neoforge("users", "--help").stdout


def test_the_openapi_document_is_written_to_a_file(tmp_path: Path) -> None:
    written = neoforge("openapi", "--output", str(tmp_path / "openapi.json"))
    assert (written.returncode, written.stdout) == (0, ""), written.stderr
    assert "/api/v1/auth/login" in json.loads((tmp_path / "openapi.json").read_text())["paths"]


def test_a_reader_that_has_gone_is_no_fault_of_the_command() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    ended = subprocess.run(
        [sys.executable, "-m", "app.cli", "openapi"], cwd=BACKEND, stdout=writes, stderr=subprocess.PIPE, timeout=60
    )
    os.close(writes)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_the_schema_goes_down_and_up_again(tmp_path: Path) -> None:
    env = {"DATABASE_URL": f"sqlite:///{tmp_path}/own.db"}
    assert neoforge("db", "current", **env).stdout.startswith("empty (newest: ")
    for command in (("upgrade",), ("downgrade",), ("downgrade", "base"), ("upgrade",)):
        done = neoforge("db", *command, **env)
        assert done.returncode == 0, done.stderr
    found, newest = neoforge("db", "current", **env).stdout.removesuffix(")\n").split(" (newest: ")
    assert found == newest


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_api_that_does_not_start_says_so_last(workers: str, tmp_path: Path) -> None:
    """It has no secret, and nowhere to keep the one that it would make."""
    (tmp_path / "file").touch()
    nowhere = {"SECRET_KEY": "", "DATA_DIR": str(tmp_path / "file" / "data")}
    ended = neoforge("serve", "--port", "0", "--workers", workers, **nowhere)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "neoforge: the API did not start: the log above says why"


def test_a_fault_of_ours_keeps_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['app.cli.schema'] = None\n")
    ended = subprocess.run(
        [sys.executable, "-m", "app.cli", "db", "current"], cwd=BACKEND, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{BACKEND}"},
    )  # fmt: skip
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="how root is kept from a file differs elsewhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    ended = subprocess.run(
        [sys.executable, "-m", "app.cli", "reset", "--yes"], cwd=BACKEND, capture_output=True, text=True, timeout=60,
        env={**os.environ, **DEVELOPMENT, "DATA_DIR": str(locked)}, preexec_fn=_no_more_than_others(),
    )  # fmt: skip
    assert_one_line(ended, 1, str(locked), "DATA_DIR")


def _no_more_than_others() -> Callable[[], None]:
    """For root, whom no mode stops: without its rights to pass by them (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH)."""
    libc, drop_from_bounding_set = ctypes.CDLL(None), 24

    def give_up() -> None:
        for capability in (1, 2):
            libc.prctl(drop_from_bounding_set, capability, 0, 0, 0)

    return give_up


async def test_serve_ends_with_0_on_sigterm_also_with_several_processes(server) -> None:
    for workers in ("1", "2"):
        assert (await server("--workers", workers)).stop() == 0


async def test_a_second_ctrl_c_is_not_needed(server) -> None:
    running = await server()
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(30) == 0


@pytest.mark.parametrize("folder", ["/etc/passwd", "/etc/passwd/below", "/proc/nowhere/below"])
@pytest.mark.parametrize("command", [["dev"], ["db", "upgrade"]])
def test_a_folder_that_cannot_be_made_is_told(command: list[str], folder: str) -> None:
    unset = {"DATABASE_URL": "", "MIGRATION_DATABASE_URL": "", "REDIS_URL": "", "SMTP_URL": "", "PORT": "0"}
    assert_one_line(neoforge(*command, **DEVELOPMENT, **unset, DATA_DIR=folder), 1, "DATA_DIR", folder.split("/")[1])
