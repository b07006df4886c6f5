"""`neoforge tasks …`."""

import re
import sys
from datetime import timedelta
from uuid import UUID

import click

from app.cli.faults import Group, reads
from app.cli.variables import DATABASE, OF_ALL, REDIS, SECRETS, TASKS

ENDED = ("succeeded", "failed", "cancelled")
STATES = ("pending", "queued", "running", *ENDED)
LOOKS = reads(*DATABASE, *SECRETS, *OF_ALL)
CHANGES = reads(*DATABASE, *REDIS, *SECRETS, *OF_ALL)
QUEUES = reads(*DATABASE, *REDIS, *SECRETS, *TASKS, *OF_ALL)
_AGE = re.compile(r"([1-9]\d{0,4})([dhm])")
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}


class Age(click.ParamType[timedelta]):
    """A span of time: `30d`, `12h`, `90m`."""

    name = "AGE"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = _AGE.fullmatch(value)
        if found is None:
            self.fail(f"{value!r} is no age: write 30d, 12h or 90m.", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


@click.group(cls=Group)
def tasks() -> None:
    """Look after background tasks and their queues."""


@tasks.command("list", epilog=LOOKS)
@click.option("--status", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--type", "task_type", help="Only those of this type.")
@click.option("--user", "account", help="Only those of this account: its address or id.")
@click.option("--queue", help="Only those in this queue.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="So many at most.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_tasks(
    status: str | None, task_type: str | None, account: str | None, queue: str | None, limit: int, as_json: bool
) -> None:
    """Print tasks, the newest first."""
    from app.cli import promised

    promised.print_all(status, task_type, account, queue, limit, as_json=as_json)


@tasks.command(epilog=LOOKS)
@click.argument("task_id", metavar="ID", type=click.UUID)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(task_id: UUID, as_json: bool) -> None:
    """Print all that is known of a task. Arguments that are declared sensitive are hidden."""
    from app.cli import promised

    promised.print_one(task_id, as_json=as_json)


@tasks.command(epilog=CHANGES)
@click.argument("ids", metavar="ID...", type=click.UUID, nargs=-1, required=True)
def retry(ids: tuple[UUID, ...]) -> None:
    """Have failed or cancelled tasks run again, from now on. Exit code 1 when one could not be."""
    from app.cli import promised

    promised.retry(ids)


@tasks.command(epilog=CHANGES)
@click.argument("ids", metavar="ID...", type=click.UUID, nargs=-1, required=True)
def cancel(ids: tuple[UUID, ...]) -> None:
    """End tasks that wait, and ask those that run to stop. Exit code 1 when one had ended."""
    from app.cli import promised

    promised.cancel(ids)


@tasks.command(epilog=LOOKS)
@click.option("--older-than", type=Age(), required=True, help="Only those that ended so long ago: 30d, 12h, 90m.")
@click.option(
    "--status",
    "states",
    type=click.Choice(ENDED),
    multiple=True,
    default=ENDED,
    help="Only those; several may be given.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(older_than: timedelta, states: tuple[str, ...], yes: bool) -> None:
    """Delete tasks that have ended. One that is alive stays, however old it is."""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody is here to be asked: say --yes.")
        click.confirm(f"Delete every {' or '.join(states)} task that ended more than {older_than} ago?", abort=True)
    from app.cli import promised

    click.echo(f"deleted {promised.purge(states, older_than)} tasks")


@tasks.command(epilog=reads(*DATABASE, *SECRETS, *TASKS, *OF_ALL))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def queues(as_json: bool) -> None:
    """Print what stands in each queue, and since when it is paused."""
    from app.cli import queues as chores

    chores.print_all(as_json=as_json)


@tasks.command(epilog=QUEUES)
@click.argument("queue")
def pause(queue: str) -> None:
    """Start nothing of QUEUE any more. What runs goes on; what is asked for meanwhile waits."""
    from app.cli import queues as chores

    click.echo(f"{queue} is paused {'from now on' if chores.pause(queue) else 'already'}")


@tasks.command(epilog=QUEUES)
@click.argument("queue")
def resume(queue: str) -> None:
    """Start the tasks of QUEUE again."""
    from app.cli import queues as chores

    click.echo(f"{queue} runs {'from now on' if chores.resume(queue) else 'already'}")
