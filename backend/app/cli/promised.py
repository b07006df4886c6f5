"""Chores on background tasks. None of them needs Redis: only to wake the relay at once."""

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import click

import app.worker.tasks  # noqa: F401 - registers the tasks, which say what of their arguments is hidden
from app.cli.accounts import find as find_account
from app.cli.work import run
from app.core.db import new_session
from app.core.errors import AppError, NotFound
from app.core.logging import one_line
from app.crud import task as rows
from app.crud.purging import PORTION
from app.models.background_task import BackgroundTask, TaskStatus
from app.schemas.base import rfc3339
from app.schemas.pages import MOST, Window
from app.services import administration, tasks
from app.worker.context import transaction
from app.worker.tracking import shown

UNKNOWN = "no task has this id; `neoforge tasks list` prints them"
Chore = Callable[..., Awaitable[BackgroundTask]]


def print_all(
    status: str | None, task_type: str | None, account: str | None, queue: str | None, limit: int, *, as_json: bool
) -> None:
    """Print tasks, the newest first, a page at a time.

    Raises:
        NotFound: there is no such account.
    """

    async def work() -> None:
        owner = await _owner(account) if account else None
        wanted = TaskStatus(status) if status else None
        left, window = limit, Window("", min(limit, MOST))
        while left:
            async with new_session(read_only=True) as db:
                page = await tasks.find(
                    db, window, owner=owner, status=wanted, task_type=task_type, queue=queue, arguments=as_json
                )
            for task in page.items:
                click.echo(json.dumps(_as_dict(task)) if as_json else _as_line(task))
            left -= len(page.items)
            if page.next_cursor is None:
                return
            window = Window("", min(left, MOST) or 1, page.items[-1].id)

    run(work())


async def _owner(account: str) -> UUID:
    async with new_session(read_only=True) as db:
        return (await find_account(db, account)).id


def print_one(task_id: UUID, *, as_json: bool) -> None:
    """
    Raises:
        NotFound
    """

    async def work() -> BackgroundTask:
        async with new_session(read_only=True) as db:
            return await tasks.access(db, task_id, owner=None)

    try:
        found = _as_dict(run(work()))
    except NotFound:
        raise NotFound(UNKNOWN) from None
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, value in found.items():
        click.echo(f"{name:16}  {one_line(value if isinstance(value, str) else json.dumps(value))}")


def _as_dict(task: BackgroundTask) -> dict[str, Any]:
    """All that a row says, as JSON values. Its arguments are those that an operator may see."""
    row = {name: getattr(task, name) for name in BackgroundTask.model_fields}
    row["task_data"] = shown(task.task_type, task.task_data)
    return {name: _as_json(value) for name, value in row.items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    return str(value) if isinstance(value, UUID) else value


def _as_line(task: BackgroundTask) -> str:
    where, attempts = f"{task.queue}:{task.priority}", f"{task.attempts}/{task.max_attempts}"
    return one_line(
        f"{task.id}  {rfc3339(task.created_at)}  {task.status:9}  {task.task_type:16}  {where:12}  {attempts:5}  "
        f"{task.error_code or '-'}"
    )


def retry(ids: Sequence[UUID]) -> None:
    """
    Raises:
        ClickException: some could not be. The others are done.
    """
    _each(ids, administration.retry_task, lambda task: f"{task.id} runs again")


def cancel(ids: Sequence[UUID]) -> None:
    """
    Raises:
        ClickException: some had ended. The others are done.
    """

    def told(task: BackgroundTask) -> str:
        return f"{task.id} {'was asked to stop' if task.status == TaskStatus.running else 'is cancelled'}"

    _each(ids, administration.cancel_task, told)


def _each(ids: Sequence[UUID], chore: Chore, told: Callable[[BackgroundTask], str]) -> None:
    """Do it to each task in a transaction of its own, and name those with which it could not be done."""

    async def work() -> list[str]:
        faults: list[str] = []
        for task_id in dict.fromkeys(ids):
            try:
                async with transaction() as db:
                    task = await chore(db, task_id, actor=None)
                click.echo(told(task))
            except AppError as error:
                faults.append(f"{task_id}: {UNKNOWN if isinstance(error, NotFound) else error.detail}")
        return faults

    if faults := run(work()):
        raise click.ClickException("; ".join(faults))


def purge(states: Sequence[str], older_than: timedelta) -> int:
    """Delete tasks that ended so long ago, in short transactions; how many."""

    async def work() -> int:
        total, wanted = 0, [TaskStatus(state) for state in states]
        gone = PORTION
        while gone == PORTION:
            async with transaction() as db:
                gone = await rows.purge_some(db, wanted, older_than=older_than)
            total += gone
        return total

    return run(work())
