"""The commands fail in one line that says what to do, with the exit code of their kind."""

import socket
from pathlib import Path
from subprocess import CompletedProcess

import click
import pytest

from app.cli import cli
from app.cli.faults import named
from app.core.config import Settings
from tests.commands import neoforge

VARIABLES = {field.upper() for field in Settings.model_fields}


def assert_one_line(failed: CompletedProcess[str], code: int, *words: str) -> None:
    assert failed.returncode == code, failed.stderr
    assert failed.stderr.startswith("neoforge: ")
    assert failed.stderr.count("\n") == 1
    assert "Traceback" not in failed.stderr + failed.stdout
    for word in words:
        assert word in failed.stderr


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["serve", "--nothing"], ["serve", "--workers", "0"], ["db", "nothing"]]
)
def test_wrong_use_is_2(arguments: list[str]) -> None:
    assert_one_line(neoforge(*arguments), 2, "--help")


def test_wrong_settings_are_told_all_at_once_without_their_values() -> None:
    failed = neoforge("serve", PORT="ninety", DATABASE_URL="mysql://u:hunter22@h/d")
    assert_one_line(failed, 1, "PORT", "DATABASE_URL")
    assert "hunter22" not in failed.stderr
    assert "ninety" not in failed.stderr


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_one_line(neoforge("serve", PORT=port), 1, port, "PORT", "taken")
        assert_one_line(neoforge("serve", "--port", port, "--workers", "2"), 1, port)


@pytest.mark.parametrize(
    "command", [["db", "upgrade"], ["db", "current"], ["users", "create-admin", "--email", "a@example.com"]]
)
def test_a_database_that_is_away_is_told(command: list[str]) -> None:
    with socket.socket() as nobody:  # bound and not listening: a connection is refused
        nobody.bind(("127.0.0.1", 0))
        url = f"postgresql://u:p@127.0.0.1:{nobody.getsockname()[1]}/d"
        failed = neoforge(*command, stdin="plum-otter-42-lantern\n", DATABASE_URL=url)
    assert_one_line(failed, 1, "DATABASE_URL")


def test_a_revision_that_does_not_exist_is_told() -> None:
    assert_one_line(neoforge("db", "upgrade", "nowhere"), 1, "nowhere")


def test_the_revision_is_printed() -> None:
    shown = neoforge("db", "current")
    assert shown.returncode == 0, shown.stderr
    found, newest = shown.stdout.removesuffix(")\n").split(" (newest: ")
    assert found == newest


def test_an_admin_is_made_from_standard_input_once() -> None:
    arguments = ("users", "create-admin", "--email", "Root@Example.com")
    made = neoforge(*arguments, stdin="plum-otter-42-lantern\n")
    assert made.returncode == 0, made.stderr
    assert "plum-otter" not in made.stdout + made.stderr
    assert_one_line_at_the_end(neoforge(*arguments, stdin="plum-otter-42-lantern\n"), "already exists")
    assert_one_line(
        neoforge("users", "create-admin", "--email", "not an address", stdin="short\n"), 1, "email", "password"
    )


def assert_one_line_at_the_end(failed: CompletedProcess[str], words: str) -> None:
    assert failed.returncode == 1
    assert words in failed.stderr.splitlines()[-1]


IN_PRODUCTION = {
    "PUBLIC_URL": "https://api.example.com",
    "MAIL_FROM": "hello@example.com",
    "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d",
}


@pytest.mark.parametrize("environment", ["test", "production"])
def test_reset_is_for_development(environment: str, tmp_path: Path) -> None:
    (tmp_path / "neoforge.db").write_text("kept")
    refused = neoforge("reset", "--yes", ENVIRONMENT=environment, DATA_DIR=str(tmp_path), **IN_PRODUCTION)
    assert_one_line(refused, 1, "is for development", environment)
    assert (tmp_path / "neoforge.db").exists()


def test_dev_refuses_production() -> None:
    refused = neoforge("dev", ENVIRONMENT="production", **IN_PRODUCTION)
    assert_one_line(refused, 1, "production", "neoforge serve")


def test_the_openapi_document_is_printed() -> None:
    printed = neoforge("openapi")
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.startswith("{")
    assert "/api/v1/auth/login" in printed.stdout


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name, command in group.commands.items():
        inner = (*path, name)
        found += _commands(command, inner) if isinstance(command, click.Group) else [(" ".join(inner), command)]
    return found


@pytest.mark.parametrize(("name", "command"), _commands(cli))
def test_each_help_names_variables_that_exist(name: str, command: click.Command) -> None:
    assert command.help
    assert command.epilog
    read = set(named(command))
    assert read
    assert read <= VARIABLES, name


def test_development_reads_every_variable() -> None:
    assert set(named(cli.commands["dev"])) == VARIABLES


@pytest.mark.parametrize("arguments", [[], ["db"], ["users"]])
def test_the_help_of_a_group_names_what_its_commands_read(arguments: list[str]) -> None:
    group: click.Command = cli
    for argument in arguments:
        assert isinstance(group, click.Group)
        group = group.commands[argument]
    shown = neoforge(*arguments, "--help").stdout.partition("Reads ")[2]
    assert set(shown.replace(",", " ").replace(".", " ").split()) == set(named(group))
    assert "DATABASE_URL" in shown
