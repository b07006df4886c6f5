"""`neoforge doctor`: what keeps the service from working as it should, and what somebody ought to look at."""

from contextlib import suppress

import click

from app.cli.configuration import not_served
from app.cli.faults import DONE, FAILED
from app.cli.work import run
from app.core import dynamic
from app.core.db import new_session
from app.core.logging import one_line
from app.crud import config_revision as rows
from app.schemas.health import Check, Checks, Readiness, State
from app.services import feed, health

ADVICE = {
    "database": "see that it runs and that DATABASE_URL names it",
    "redis": "see that it runs and that REDIS_URL names it; limits are kept by each process meanwhile, tasks wait",
    "worker": "start `neoforge worker` and `neoforge scheduler`; see `neoforge tasks queues`",
    "migrations": "run `neoforge db upgrade`",
    "config": "the database does not tell what was set",
}


def examine() -> int:
    """Print what was found, a line each. The exit code: 1 when there was something."""
    found, unfit = run(_look())
    for name in Checks.model_fields:
        check: Check = getattr(found.checks, name)
        advice = "" if check.status is State.healthy else f": {ADVICE[name]}"
        click.echo(f"{name:12}{check.status}{advice}")
    for key in unfit:
        click.echo(one_line(f"config      {not_served(key)}"))
    return DONE if found.status is State.healthy and not unfit else FAILED


async def _look() -> tuple[Readiness, list[str]]:
    unfit: list[str] = []
    with suppress(Exception):  # the database is away: the checks say so
        await feed.read()
        async with new_session(read_only=True) as db:
            unfit = dynamic.use(await rows.current(db))
    return await health.readiness(), unfit
