"""`neoforge config …`."""

import click

from app.cli.faults import Group, reads
from app.cli.variables import DATABASE, OF_ALL, SECRETS

READS = reads(*DATABASE, *SECRETS, *OF_ALL)
Comment = click.option("--comment", metavar="WHY", help="Why; it stands in the history.")


@click.group(cls=Group)
def config() -> None:
    """Look after dynamic settings and flags. A change reaches every process within a second."""


@config.command("list", epilog=READS)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_all(as_json: bool) -> None:
    """Print every declared key and what holds. What the database has beside them is told on the error stream."""
    from app.cli import configuration

    configuration.print_all(as_json=as_json)


@config.command(epilog=READS)
@click.argument("key")
def get(key: str) -> None:
    """Print the value that holds, in JSON."""
    from app.cli import configuration

    configuration.print_one(key)


@config.command("set", epilog=READS)
@click.argument("key")
@click.argument("value")
@Comment
def set_value(key: str, value: str, comment: str | None) -> None:
    """Set KEY to VALUE: JSON, or a text as it is where that is none."""
    from app.cli import configuration

    configuration.set_value(key, value, comment)


@config.command(epilog=READS)
@click.argument("key")
@Comment
def unset(key: str, comment: str | None) -> None:
    """Have the default hold again."""
    from app.cli import configuration

    configuration.unset(key, comment)


@config.command(epilog=READS)
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def history(key: str, as_json: bool) -> None:
    """Print the last 100 changes of KEY, the newest first."""
    from app.cli import configuration

    configuration.print_history(key, as_json=as_json)


@config.command(epilog=READS)
@click.argument("key")
@click.argument("revision", type=click.IntRange(1, 2_147_483_647))
@Comment
def revert(key: str, revision: int, comment: str | None) -> None:
    """Have what held after REVISION hold again, as a revision of its own."""
    from app.cli import configuration

    configuration.revert(key, revision, comment)
