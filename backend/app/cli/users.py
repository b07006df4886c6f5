"""`neoforge users …`."""

import sys

import click

from app.cli.faults import Group, reads
from app.cli.variables import DATABASE, OF_ALL, REDIS, SECRETS

ROLES = click.Choice(["admin", "support"])
CHANGES = reads(*DATABASE, *REDIS, *SECRETS, *OF_ALL)


@click.group(cls=Group)
def users() -> None:
    """Look after accounts."""


@users.command(epilog=reads(*DATABASE, *SECRETS, "PASSWORD_MIN_LENGTH", "BREACH_CHECK_URL", *OF_ALL))
@click.option("--email", required=True, help="The new account's address; it counts as verified.")
def create_admin(email: str) -> None:
    """Make an account that may do everything. Reads its password from standard input."""
    password = click.prompt("Password", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    from app.cli import accounts

    user_id = accounts.create_admin(email, password)
    click.echo(f"made {email} ({user_id})")


@users.command("list", epilog=reads(*DATABASE, *SECRETS, *OF_ALL))
@click.option("--query", help="An address, or words of an address or name.")
@click.option("--role", type=ROLES, help="Only those with this role.")
@click.option("--active/--disabled", default=None, help="Only those that may sign in, or that may not.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_users(query: str | None, role: str | None, active: bool | None, as_json: bool) -> None:
    """Print the accounts, the newest first."""
    from app.cli import accounts

    accounts.print_all(query, role, active, as_json=as_json)


@users.command(epilog=CHANGES)
@click.argument("account")
def disable(account: str) -> None:
    """Let ACCOUNT (its address or id) sign in no more, and end all its sessions."""
    from app.cli import accounts

    click.echo(f"disabled {accounts.change(account, is_active=False)}")


@users.command(epilog=CHANGES)
@click.argument("account")
def enable(account: str) -> None:
    """Let ACCOUNT (its address or id) sign in again."""
    from app.cli import accounts

    click.echo(f"enabled {accounts.change(account, is_active=True)}")


@users.command(epilog=CHANGES)
@click.argument("account")
@click.option("--role", type=ROLES, default="admin", show_default=True, help="The role to give.")
def promote(account: str, role: str) -> None:
    """Give ACCOUNT (its address or id) a role."""
    from app.cli import accounts

    click.echo(f"promoted {accounts.change(account, add=role)}")


@users.command(epilog=CHANGES)
@click.argument("account")
@click.option("--role", type=ROLES, help="The role to take away, in place of every one.")
def demote(account: str, role: str | None) -> None:
    """Take roles from ACCOUNT (its address or id)."""
    from app.cli import accounts

    click.echo(f"demoted {accounts.change(account, remove=role or 'every')}")
