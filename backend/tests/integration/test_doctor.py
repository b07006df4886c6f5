"""`neoforge doctor` says what is wrong, and nothing else."""

import asyncio
import re

import click
import pytest

from app.cli import cli
from app.cli.doctor import ADVICE
from app.core.clock import utc_now
from app.core.db import new_session
from app.core.dynamic import DECLARED
from app.core.sql import new_id
from app.models import ConfigRevision
from app.schemas.health import Checks
from tests.commands import neoforge
from tests.processes import free_port
from tests.stack import Worker


async def test_where_all_is_well_there_is_nothing_to_do(worker: Worker) -> None:
    assert worker
    done = await asyncio.to_thread(neoforge, "doctor")
    assert done.stdout.split() == [word for name in Checks.model_fields for word in (name, "healthy")]
    assert done.returncode == 0


@pytest.mark.any_server
@pytest.mark.any_database
@pytest.mark.parametrize("advice", ADVICE.values())
def test_what_it_advises_to_run_can_be_run(advice: str) -> None:
    for said in re.findall(r"`neoforge ([a-z -]+)`", advice):
        command: click.Command = cli
        for word in said.split():
            assert isinstance(command, click.Group)
            command = command.commands[word]


async def test_a_row_that_is_not_served_is_told(worker: Worker) -> None:
    assert worker
    async with new_session() as db:
        for key in ("gone_since", "demo_banner"):
            after = {"value": "no boolean"}
            db.add(ConfigRevision(id=new_id(), key=key, revision=1, created_at=utc_now(), before=None, after=after))
        await db.commit()
    done = await asyncio.to_thread(neoforge, "doctor")
    told = [line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if "not served" in line]
    assert told == [
        "gone_since is set, but nobody declares it: it is not served",
        "demo_banner is set, but its value does not fit any more: it is not served",
    ]
    assert "demo_banner" in DECLARED
    assert done.returncode == 1


@pytest.mark.any_server
@pytest.mark.any_database
async def test_what_is_away_is_told_with_what_to_do() -> None:
    nowhere = free_port()
    away = {
        "DATABASE_URL": f"postgresql://nobody@127.0.0.1:{nowhere}/none",
        "REDIS_URL": f"redis://127.0.0.1:{nowhere}",
    }
    done = await asyncio.to_thread(lambda: neoforge("doctor", **away))
    said = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines()}
    assert said["database"] == "unhealthy: see that it runs and that DATABASE_URL names it"
    assert said["redis"].startswith("degraded: see that it runs")
    assert said["migrations"] == "unhealthy: run `neoforge db upgrade`"
    assert done.returncode == 1
