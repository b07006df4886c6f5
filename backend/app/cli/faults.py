"""How the commands fail: one line on standard error that says what to do, and an exit code."""

import sys
from pathlib import Path
from typing import NoReturn

import click

TOLD_AS_IT_IS = {"app.core.process.CannotRun", "app.core.config.SettingsError", "alembic.util.exc.CommandError"}
DONE, FAILED, WRONG_USE = 0, 1, 2


class Group(click.Group):
    """A group that lists its commands in the order of their definition, and whose names have hyphens."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Name all that its commands read."""
        self.epilog = reads(*named(self))
        super().format_epilog(ctx, formatter)


def named(command: click.Command) -> list[str]:
    """The variables that the help of `command` names, a group's those of its commands."""
    if isinstance(command, click.Group):
        return sorted({name for inner in command.commands.values() for name in named(inner)})
    return (command.epilog or "").removeprefix("Reads ").removesuffix(".").split(", ")


def reads(*variables: str) -> str:
    """The help's last paragraph."""
    return "Reads " + ", ".join(dict.fromkeys(variables)) + "."


def run(command: click.Command) -> NoReturn:
    """Run `command` on this process's arguments and exit. That the reader of our output has gone, click sees to."""
    try:
        _refuse_what_is_no_text(sys.argv[1:])
        code = command.main(prog_name="neoforge", standalone_mode=False)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "neoforge"
        _fail(f"{error.format_message()} See `{where} --help`.", WRONG_USE)
    except click.Abort:
        _fail("stopped", FAILED)
    except click.ClickException as error:
        _fail(error.format_message(), FAILED)
    except Exception as error:
        told = _expected(error)
        if told is None:
            raise
        _fail(told, FAILED)
    sys.exit(code if isinstance(code, int) else DONE)


def _refuse_what_is_no_text(arguments: list[str]) -> None:
    """Bytes that are no UTF-8 come as lone surrogates, which no database and no log takes."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"the argument {argument!a} is not UTF-8.") from None


def _fail(message: str, code: int) -> NoReturn:
    print("neoforge: " + " ".join(message.split()), file=sys.stderr, flush=True)
    sys.exit(code)


def _says_unavailable(error: Exception) -> bool:
    from app.core.db_errors import is_unavailable

    return is_unavailable(error)


def _expected(error: Exception) -> str | None:
    """What to tell of a fault that comes from the surroundings; None when the fault is ours and needs its traceback.

    Classes are known by their names: their modules load slowly, and one that was never loaded has raised nothing.
    """
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
    if kinds & TOLD_AS_IT_IS:
        return str(error)
    if "app.core.errors.AppError" in kinds:
        return _app_error(error)
    if "app.core.db" in sys.modules and _says_unavailable(error):
        return "the database cannot be used now: see that it runs, is migrated, and that DATABASE_URL names it"
    if isinstance(error, PermissionError):
        return f"{error.filename or 'a file'} may not be read or written by this user: set DATA_DIR to another"
    if isinstance(error, OSError) and _is_about_data_dir(error):
        return f"DATA_DIR cannot be used: {error.filename}: {error.strerror}: set it to a folder that can be made"
    return None


def _is_about_data_dir(error: OSError) -> bool:
    """Whether the file is DATA_DIR, in it, or above it."""
    settings = getattr(sys.modules.get("app.core.config"), "settings", None)
    if settings is None or not isinstance(error.filename, str):
        return False
    file, folder = Path(error.filename), settings.data_dir
    return bool(file.is_relative_to(folder) or folder.is_relative_to(file))


def _app_error(error: Exception) -> str:
    faults = getattr(error, "extra", {}).get("errors", [])
    details = [str(fault.get("detail", "")) for fault in faults] or [str(getattr(error, "detail", error))]
    return "; ".join(details)
