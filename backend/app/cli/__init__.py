"""`neoforge …`: every process and chore of the project. Imports stand in the commands: each loads only its own."""

import atexit
import gc
import sys
from pathlib import Path
from typing import Any

import click

from app.cli import audit, config, database, tasks, users
from app.cli.faults import Group, reads
from app.cli.variables import (
    ACCOUNTS,
    BROKER,
    DATABASE,
    EDGE,
    LIMITS,
    MAIL,
    MIGRATIONS,
    OF_ALL,
    REDIS,
    SCHEDULER,
    SECRETS,
    TASKS,
    WORKER,
)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="neoforge", message="%(package)s %(version)s")
def cli() -> None:
    """Run the backend and look after it. Settings come from the environment; .env.example says what each one is."""


@cli.command(
    epilog=reads(
        *EDGE,
        *DATABASE,
        *MIGRATIONS,
        *REDIS,
        *SECRETS,
        *MAIL,
        *BROKER,
        *WORKER,
        *SCHEDULER,
        *ACCOUNTS,
        *LIMITS,
        *OF_ALL,
    )
)
def dev() -> None:
    """Run everything for development: Valkey, mailbox, migrations, API, worker, scheduler. Ctrl-C ends it."""
    from app.dev import supervisor

    supervisor.run()


@cli.command(epilog=reads(*EDGE, *DATABASE, *REDIS, *SECRETS, *MAIL, *ACCOUNTS, *LIMITS, *OF_ALL))
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes that answer.")
@click.option("--host", help="Address to listen on, in place of HOST.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on, in place of PORT.")
@click.option("--fd", type=click.IntRange(3), hidden=True, help="A listening socket that this process was given.")
def serve(workers: int, host: str | None, port: int | None, fd: int | None) -> None:
    """Run the API."""
    gc.disable()  # what is imported stays: a search in it for what could go takes a fifth of the start
    from app.cli import serving

    serving.serve(workers=workers, host=host, port=port, fd=fd)


@cli.command(epilog=reads(*DATABASE, *REDIS, *SECRETS, *MAIL, *BROKER, *WORKER, *OF_ALL))
@click.option("--concurrency", type=click.IntRange(1, 256), help="Tasks at once, in place of WORKER_CONCURRENCY.")
@click.option("--queues", help="Only these queues of TASK_QUEUES, by comma. Some worker has to serve the others.")
def worker(concurrency: int | None, queues: str | None) -> None:
    """Run a Celery worker, which carries out the promised tasks."""
    from app.cli import working

    working.work(concurrency, queues)


@cli.command(epilog=reads(*DATABASE, *REDIS, *SECRETS, *BROKER, *SCHEDULER, *OF_ALL))
def scheduler() -> None:
    """Run the relay and the schedules, which hand due tasks to the workers."""
    from app.worker import relay

    relay.run()


cli.add_command(database.db)
cli.add_command(users.users)
cli.add_command(config.config)
cli.add_command(tasks.tasks)
cli.add_command(audit.audit)


@cli.group(cls=Group)
def keys() -> None:
    """Look after the keys that sign access tokens, and the secret that they are derived from."""


@keys.command("list", epilog=reads(*DATABASE, *SECRETS, *OF_ALL))
def list_keys() -> None:
    """Print every key in use: its number, its name (`kid`), and what it does."""
    from app.cli import signing

    for number, kid, state in signing.listing():
        click.echo(f"{number}  {kid}  {state}")


@keys.command(epilog=reads(*DATABASE, *SECRETS, *OF_ALL))
@click.option("--now", is_flag=True, help="Do not wait until every client has fetched the next key's public half.")
def rotate(now: bool) -> None:
    """Have the next key sign. Nobody is signed out: the key before verifies until its last token has expired."""
    from app.cli import signing

    click.echo(f"{signing.rotate(at_once=now)} signs from now on")


@keys.command(epilog=reads(*DATABASE, *SECRETS, *OF_ALL))
def adopt_secret() -> None:
    """Accept a new SECRET_KEY. Everybody has to sign in again, and every mailed link is void."""
    from app.cli import signing

    since = "from now on" if signing.adopt_secret() else "already"
    click.echo(f"SECRET_KEY is the installation's {since}")


@cli.command(epilog=reads("ENVIRONMENT", "DATA_DIR"))
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(yes: bool) -> None:
    """Empty the embedded stack: its database, Valkey, mailbox and secrets. Development only."""
    from app.core.config import Environment, settings
    from app.core.process import CannotRun
    from app.dev.state import State

    if settings.environment is not Environment.development:
        raise CannotRun(f"`neoforge reset` is for development, and ENVIRONMENT is {settings.environment}")
    if not settings.data_dir.is_dir():
        return
    state = State(settings.data_dir)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody is here to be asked: say --yes.")
        click.confirm(f"Remove the database, Valkey's files, mails and secrets in {settings.data_dir}?", abort=True)
    state.empty()
    click.echo(f"emptied {settings.data_dir}")


@cli.command(epilog=reads(*DATABASE, *REDIS, *SECRETS, *TASKS, *OF_ALL))
def doctor() -> int:
    """Say what is wrong, and what to do: database, Redis, workers, migrations, settings that nobody declares."""
    from app.cli.doctor import examine

    return examine()


@cli.command(epilog=reads("PUBLIC_URL", *OF_ALL))
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write, not standard output.")
def openapi(output: Path | None) -> None:
    """Print the OpenAPI document."""
    import json

    from uvicorn.importer import import_from_string

    # By name: the commands and the application do not import each other.
    application: Any = import_from_string("app.main:app")
    text = json.dumps(application.openapi(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text)


def main() -> None:
    """The command `neoforge`."""
    atexit.register(gc.freeze)  # what a process holds goes with it; to look through it for garbage takes 0.4 s
    from app.cli.faults import run

    run(cli)
