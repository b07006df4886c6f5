"""`neoforge db …`."""

from pathlib import Path

import click

from app.cli.faults import Group, reads
from app.cli.variables import DATABASE, MIGRATIONS, OF_ALL


@click.group(cls=Group)
def db() -> None:
    """Look after the database's schema."""


@db.command(epilog=reads(*MIGRATIONS, *DATABASE, *OF_ALL))
@click.argument("revision", default="head")
def upgrade(revision: str) -> None:
    """Bring the schema to REVISION (default: the newest)."""
    from app.cli import schema

    schema.upgrade(revision)


@db.command(epilog=reads(*MIGRATIONS, *DATABASE, *OF_ALL))
@click.argument("revision", default="-1")
def downgrade(revision: str) -> None:
    """Take the schema back to REVISION (default: one back); `base` takes all of it away."""
    from app.tools import migrate

    migrate.downgrade(revision=revision)


@db.command(epilog=reads(*MIGRATIONS, *DATABASE, *OF_ALL))
@click.option("--from", "source", required=True, metavar="URL", help="What is copied: sqlite:///app.db, or PostgreSQL.")
@click.option("--to", "target", metavar="URL", help="What is filled, in place of DATABASE_URL. It is empty.")
@click.option("--dry-run", is_flag=True, help="Read all of it and tell what would not fit; write nothing.")
@click.option("--quarantine", type=click.Path(dir_okay=False, path_type=Path), help="New file for what does not fit.")
@click.option("--resume", is_flag=True, help="Commit table by table, and go on after what such a copy has left.")
@click.option("--mask", is_flag=True, help="Put fakes in place of addresses, names, passwords and tokens.")
@click.option("--leave-unknown", is_flag=True, help="Leave behind what the models do not know, instead of stopping.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="New file for the report as JSON.")
def copy(
    source: str,
    target: str | None,
    *,
    dry_run: bool,
    quarantine: Path | None,
    resume: bool,
    mask: bool,
    leave_unknown: bool,
    report: Path | None,
) -> int:
    """Copy a database to an empty one, of SQLite or PostgreSQL, compare every row, and commit only what is proven."""
    from app.cli import copying
    from app.tools.copying.copy import How

    how = How(quarantine=quarantine, resume=resume, mask=mask, leave_unknown=leave_unknown)
    return copying.run(source, target, how, dry_run=dry_run, report=report)


@db.command(epilog=reads(*MIGRATIONS, *DATABASE, *OF_ALL))
@click.option("--from", "source", required=True, metavar="URL", help="What is rehearsed for; it is only read.")
@click.option("--to", "target", metavar="URL", help="An empty database to do it in, in place of one made for it.")
def rehearse(source: str, target: str | None) -> int:
    """Migrate a masked copy of a database up, down and up again; tell times, locks, and what going down loses."""
    from app.cli import rehearsing

    return rehearsing.run(source, target)


@db.command(epilog=reads(*MIGRATIONS, *DATABASE, *OF_ALL))
def current() -> None:
    """Print the database's revision and the newest one."""
    from app.cli import schema

    found, newest = schema.revisions()
    click.echo(f"{found or 'empty'} (newest: {newest})")


@db.command(epilog=reads(*MIGRATIONS, *DATABASE, *OF_ALL))
@click.option("-m", "--message", "words", required=True, metavar="WORDS", help="What it does: its name and first line.")
@click.option("--empty", is_flag=True, help="Write one to fill by hand where the models say nothing new.")
@click.option("--destructive", is_flag=True, help="Write one that drops or narrows something.")
@click.option("--configured", is_flag=True, help="Compare with DATABASE_URL, not with a new SQLite database.")
def revision(words: str, empty: bool, destructive: bool, configured: bool) -> None:
    """Write the migration that the models ask for, into alembic/versions. Run `db upgrade` after you have read it."""
    from app.cli import revision

    revision.write(words, empty=empty, destructive=destructive, configured=configured)


@db.command(epilog=reads(*MIGRATIONS, *DATABASE, *OF_ALL))
@click.argument("revisions", nargs=-1, metavar="[REVISION]...")
@click.option("--since", metavar="REVISION", help="Only those after this one.")
@click.option("--squawk", is_flag=True, help="Fail where squawk is not installed.")
def lint(revisions: tuple[str, ...], since: str | None, squawk: bool) -> int:
    """Say what migrations (default: all) would lock, rewrite or lose on a PostgreSQL that is in use."""
    from app.cli import linting

    return linting.run(revisions, since, with_squawk=squawk)


@db.command(epilog=reads(*MIGRATIONS, *DATABASE, *OF_ALL))
@click.option("--postgresql", metavar="URL", help="A server to look on, in place of DATABASE_URL's.")
def check(postgresql: str | None) -> int:
    """Say where models and migrations differ: on SQLite, and on PostgreSQL in a database that is made and dropped."""
    from app.cli import checking

    return checking.run(postgresql)


@db.command(epilog=reads(*MIGRATIONS, *DATABASE, *OF_ALL))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--host", help="The database's host, which has to be said when it is not this machine.")
def reset(yes: bool, host: str | None) -> None:
    """Empty the database and migrate it again. Development only; `neoforge reset` empties the embedded stack."""
    from app.cli import resetting

    resetting.run(yes=yes, host=host)


@db.command(epilog=reads(*MIGRATIONS, *DATABASE, *OF_ALL))
@click.argument("file", type=click.Path(path_type=Path))
def backup(file: Path) -> None:
    """Write the database into the new FILE: by pg_dump, or by SQLite's online backup. Both while it is in use."""
    from app.cli import backups

    backups.backup(file)


@db.command(epilog=reads(*MIGRATIONS, *DATABASE, *OF_ALL))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Put it in the place of all that the database has.")
@click.option("--no-privileges", is_flag=True, help="Leave out grants (PostgreSQL), as where their roles are missing.")
def restore(file: Path, replace: bool, no_privileges: bool) -> None:
    """Put the backup in FILE into the empty database, compare every row, and commit only what is equal."""
    from app.cli import backups

    backups.restore(file, replace=replace, privileges=not no_privileges)


@db.command(epilog=reads(*DATABASE, *OF_ALL))
def shell() -> None:
    """Open psql or sqlite3 on the database. The password is in its environment, not among its arguments."""
    from app.cli import shell

    shell.run()
