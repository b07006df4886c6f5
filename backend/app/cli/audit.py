"""`neoforge audit …`."""

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.faults import Group, reads
from app.cli.variables import DATABASE, OF_ALL, SECRETS

if TYPE_CHECKING:
    from app.services.audit_check import Report

_SEAL = re.compile(r"([1-9]\d{0,18}):([0-9a-f]{64})")


class Seal(click.ParamType[tuple[int, bytes]]):
    """A seal as the scheduler logs it."""

    name = "SEQUENCE:MAC"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, bytes]:
        found = _SEAL.fullmatch(value.strip().lower())
        if found is None:
            self.fail(
                "is not a seal as `audit_newest_seal` is logged: a number, a colon, 64 hexadecimal digits", param, ctx
            )
        return int(found[1]), bytes.fromhex(found[2])


@click.group(cls=Group)
def audit() -> None:
    """Look after the audit."""


@audit.command(epilog=reads(*DATABASE, *SECRETS, *OF_ALL))
@click.option("--seal", type=Seal(), help="A newest seal from the logs: finds a tail that was cut off since.")
@click.option(
    "--old-secret-file",
    "old",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A SECRET_KEY that was replaced: what it sealed is verified too. May be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def verify(seal: tuple[int, bytes] | None, old: tuple[Path, ...], as_json: bool) -> None:
    """Verify the chain of seals and name what was altered or is missing. Exit code 1 when something was.

    Runs beside everything else, and needs the SECRET_KEY with which the events were sealed, or those.
    """
    secrets = [file.read_text().strip().encode() for file in old]
    report = asyncio.run(_verify(seal, secrets))
    click.echo(_as_json(report) if as_json else _as_text(report))
    if not report.holds:
        raise click.ClickException(
            f"the audit does not hold: {len(report.faults) + report.unnamed} faults, of which the output names "
            f"{len(report.faults)}; docs/audit.md says what each of them means"
        )


async def _verify(seal: tuple[int, bytes] | None, old_secrets: list[bytes]) -> "Report":
    from app.core.db import dispose, new_session
    from app.services import audit_check

    try:
        async with new_session(read_only=True) as db:
            return await audit_check.verify(db, known=seal, old_secrets=old_secrets)
    finally:
        await dispose()


def _as_text(report: "Report") -> str:
    lines = [str(fault) for fault in report.faults]
    if report.unnamed:
        lines.append(f"and {report.unnamed} more")
    lines.append(f"sealed: {report.sealed}, not sealed yet: {report.unsealed}")
    lines.append(f"newest seal: {report.newest or 'none'}")
    return "\n".join(lines)


def _as_json(report: "Report") -> str:
    import json
    from dataclasses import asdict

    return json.dumps({"holds": report.holds, **asdict(report)}, indent=2)
