"""All that is held about a person, for that person: made by a task, kept in pieces for a day, served by any replica.

It is read page by page in short transactions and written piece by piece, so that memory does not grow with the account.
"""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import structlog
from pydantic_core import to_json
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.db import new_session
from app.core.errors import ExportExists, NotFound
from app.crud import export as rows
from app.crud import held
from app.models.audit import Action
from app.models.background_task import BackgroundTask, TaskType
from app.models.export import Export
from app.models.user import User
from app.schemas.base import rfc3339
from app.services import audit, tasks

LIFE = timedelta(hours=24)
MAX_SIZE = 50 * 1024 * 1024  # bytes
RESERVED = 4096  # bytes of it for what stands around the rows
PAGE = 200  # rows read in one transaction

log = structlog.get_logger()


async def request(db: AsyncSession, user: User) -> BackgroundTask:
    """Promise an export.

    Raises:
        ExportExists: one is being made, or stands ready. One that failed or was cancelled is in nobody's way.
    """
    now = utc_now()
    task = await tasks.enqueue(db, TaskType.export_account, owner=user, user_id=user.id)
    if not await rows.claim(db, Export(user_id=user.id, task_id=task.id, expires_at=now + LIFE), now=now):
        alive = await rows.of_user(db, user.id)
        seconds = (alive.expires_at - now).total_seconds() if alive else 1
        raise ExportExists(headers={"Retry-After": str(max(1, round(seconds)))})
    await audit.record(db, Action.export_requested, actor=user.id, target=user.id)
    await db.refresh(task)  # its times are the database's
    log.info("export_requested", user_id=str(user.id), task_id=str(task.id))
    return task


async def access(db: AsyncSession, owner: UUID, export_id: UUID) -> Export:
    """The owner's finished export.

    Raises:
        NotFound: there is none, it is not finished, it has expired, or it is somebody else's.
    """
    found = await rows.of_user(db, owner)
    if found is None or found.id != export_id or found.size is None or found.expires_at <= utc_now():
        raise NotFound
    return found


async def read(export_id: UUID, size: int) -> AsyncIterator[bytes]:
    """The finished export piece by piece. No connection is held while the client takes one.

    Raises:
        NotFound: it went meanwhile, with its account or its time; the client sees a download that broke off.
    """
    for number in count():
        async with new_session(read_only=True) as db:
            data = await rows.chunk(db, export_id, number)
        if data is None:
            raise NotFound
        yield data
        size -= len(data)
        if size <= 0:
            return


async def document(user_id: UUID) -> AsyncIterator[bytes]:
    """The export's JSON text, row by row. What would make it too long is left out, and `complete` says so."""
    yield b'{"format": 1,\n"made_at": ' + to_json(rfc3339(utc_now()))
    room, complete = MAX_SIZE - RESERVED, True
    for part in held.PARTS:
        yield b',\n"' + part.name.encode() + b'": ['
        between = b"\n"
        async for row in _rows(part, user_id):
            text = between + to_json({name: _plain(value) for name, value in row.items()})
            room -= len(text)
            if room < 0:
                complete = False
                break
            yield text
            between = b",\n"
        yield b"]"
    yield b',\n"complete": ' + to_json(complete) + b"}\n"


async def _rows(part: held.Part, user_id: UUID) -> AsyncIterator[dict[str, Any]]:
    after = None
    while True:
        async with new_session(read_only=True) as db:
            found, after = await held.page(db, part, user_id, after=after, most=PAGE)
        for row in found:
            yield row
        if after is None:
            return


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    return value.decode(errors="replace") if isinstance(value, bytes) else value
