"""Chores on dynamic settings and flags. None of them needs Redis."""

import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import click
from sqlmodel.ext.asyncio.session import AsyncSession

from app.cli.work import run
from app.core import dynamic
from app.core.db import new_session
from app.core.declared import DECLARED
from app.core.dynamic import Setting
from app.core.errors import AppError, NotFound, ValidationFailed
from app.core.logging import one_line
from app.crud import config_revision as rows
from app.schemas.base import rfc3339
from app.schemas.dynamic_config import ConfigHistory, ConfigItem
from app.schemas.pages import MOST, Page, Window
from app.services import configuring

Result = TypeVar("Result")


def print_all(*, as_json: bool) -> None:
    async def work(db: AsyncSession) -> tuple[list[ConfigItem], list[str]]:
        return await configuring.listing(db), dynamic.use(await rows.current(db))

    items, unfit = _read(work)
    for item in items:
        if as_json:
            click.echo(item.model_dump_json())
        else:
            click.echo(
                one_line(f"{item.key:28} {item.type:9} {item.visibility:8} {_json(item.value):24} {item.source}")
            )
    for key in unfit:
        click.echo(one_line(not_served(key)), err=True)


def not_served(key: str) -> str:
    """What is wrong with a row that `dynamic.use` does not go by."""
    why = "its value does not fit any more" if key in DECLARED else "nobody declares it"
    return f"{key} is set, but {why}: it is not served"


def print_one(key: str) -> None:
    click.echo(_json(_read(lambda db: configuring.show(db, key)).value))


def set_value(key: str, value: str, comment: str | None) -> None:
    given = _value_of(DECLARED.get(key), value)
    _print(_write(lambda db: configuring.set_value(db, key, given, actor=None, comment=comment)))


def _value_of(setting: Setting[Any] | None, typed: str) -> Any:
    """JSON; where that is none, or a text is wanted, the text as it is."""
    try:
        given = json.loads(typed)
    except (ValueError, RecursionError):
        return typed
    return typed if setting and setting.kind in ("string", "enum") and not isinstance(given, str) else given


def unset(key: str, comment: str | None) -> None:
    _print(_write(lambda db: configuring.clear(db, key, actor=None, comment=comment)))


def revert(key: str, revision: int, comment: str | None) -> None:
    _print(_write(lambda db: configuring.revert(db, key, revision, actor=None, comment=comment)))


def print_history(key: str, *, as_json: bool) -> None:
    async def work(db: AsyncSession) -> Page[ConfigHistory]:
        return await configuring.history(db, key, Window("cli", MOST))

    for one in _read(work).items:
        if as_json:
            click.echo(one.model_dump_json())
            continue
        who = one.actor_id or "command line"
        change = f"{_json(one.before)} -> {_json(one.after)}{'' if one.set else ' (cleared)'}"
        click.echo(
            one_line(f"{one.revision:4}  {rfc3339(one.created_at)}  {who}  {change}  {one.comment or ''}".rstrip())
        )


def _print(item: ConfigItem) -> None:
    click.echo(one_line(f"{item.key} is {_json(item.value)} (revision {item.revision})"))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _read(ask: Callable[[AsyncSession], Awaitable[Result]]) -> Result:
    async def work() -> Result:
        async with new_session(read_only=True) as db:
            return await ask(db)

    return _told(work)


def _write(do: Callable[[AsyncSession], Awaitable[Result]]) -> Result:
    async def work() -> Result:
        async with new_session() as db:
            done = await do(db)
            await db.commit()
            return done

    return _told(work)


def _told(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    try:
        return run(work())
    except NotFound:
        raise click.BadParameter(
            "there is no such key, or no such revision.", ctx=click.get_current_context()
        ) from None
    except ValidationFailed as error:
        [first] = error.extra["errors"]
        raise click.BadParameter(first["detail"], ctx=click.get_current_context()) from None
    except AppError as error:
        raise click.ClickException(error.detail) from None
