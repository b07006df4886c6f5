"""`neoforge users …`."""

import sys

import click

from app.cli.faults import Group, reads
from app.cli.variables import DATABASE, OF_ALL, SECRETS


@click.group(cls=Group)
def users() -> None:
    """Look after accounts."""


@users.command(epilog=reads(*DATABASE, *SECRETS, "PASSWORD_MIN_LENGTH", *OF_ALL))
@click.option("--email", required=True, help="The new account's address; it counts as verified.")
def create_admin(email: str) -> None:
    """Make an account that may do everything. Reads its password from standard input."""
    password = click.prompt("Password", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    from app.cli import accounts

    user_id = accounts.create_admin(email, password)
    click.echo(f"made {email} ({user_id})")
