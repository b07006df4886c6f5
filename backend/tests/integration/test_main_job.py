"""The main job, on real input: a real Celery worker mails because of a row that was committed with the user."""

import asyncio
import json
from uuid import uuid4

import pytest
from httpx2 import AsyncClient
from sqlmodel import select

from app.core import security
from app.core.batches import Batches
from app.core.db import engine, new_session, released
from app.crud import task as rows
from app.crud import user as users
from app.models import BackgroundTask, TaskType, User
from app.services import tasks
from tests.flows import V1, Account, problem, signed_in
from tests.inbox import Inbox, link_token
from tests.stack import Worker
from tests.waiting import eventually


async def tasks_of(email: str) -> list[BackgroundTask]:
    async with new_session(read_only=True) as db:
        return list((await db.exec(select(BackgroundTask).join(User).where(User.email == email))).all())


async def test_register_verify_log_in_change_refresh_log_out(client: AsyncClient, worker, smtp: Inbox) -> None:
    account = Account(client)
    assert (await account.register()).status_code == 201
    mail = await smtp.wait_for(account.email)
    (promise,) = await tasks_of(account.email)
    assert mail.message_id.strip("<>").startswith(str(promise.id))

    answer = await client.post(f"{V1}/auth/verify-email", json={"token": link_token(mail)})
    assert answer.status_code == 204
    assert (await account.login()).status_code == 200
    assert (await account.me()).json()["is_verified"] is True

    answer = await client.put(f"{V1}/users/me", json={"full_name": "Ada"}, headers=account.bearer)
    assert answer.json()["full_name"] == (await account.me()).json()["full_name"] == "Ada"

    old = dict(account.pair)
    account.pair = (await account.refresh()).json()
    assert account.pair["refresh_token"] != old["refresh_token"]
    assert (await account.me()).status_code == 200

    assert (await account.logout()).status_code == 204
    assert problem(await account.me()) == (401, "session_revoked")
    assert problem(await account.refresh()) == (401, "session_revoked")
    await eventually(lambda: _succeeded(account.email))
    assert len(smtp.received(account.email)) == 1


async def _succeeded(email: str) -> bool:
    return [task.status for task in await tasks_of(email)] == ["succeeded"]


async def test_each_task_logs_its_own_id(worker: Worker) -> None:
    nobody = uuid4()
    async with new_session() as db:  # more than the worker has processes: one of them runs several
        made = [await tasks.enqueue(db, TaskType.welcome_email, user_id=nobody) for _ in range(5)]
        await db.commit()
    ids = {str(task.id) for task in made}

    async def all_ended() -> bool:
        async with new_session(read_only=True) as db:
            found = [await rows.get(db, task.id) for task in made]
        return all(task and task.status == "succeeded" for task in found)

    await eventually(all_ended)
    finished = [json.loads(line) for line in worker.worker.output().splitlines() if '"task_finished"' in line]
    assert {line["task_id"] for line in finished} >= ids


async def test_no_connection_is_held_while_a_hash_runs(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    account = await signed_in(client)
    held: list[int] = []

    class Watching(Batches):
        async def run(self, work, *args):
            def watched(*args):
                held.append(engine().pool.checkedout())
                return work(*args)

            return await super().run(watched, *args)

    monkeypatch.setattr(security, "_threads", Watching(1, "watched"))
    assert (await account.login()).status_code == 200
    assert (await Account(client).register()).status_code == 201
    given = {"password": account.password}
    answer = await client.post(f"{V1}/auth/reauthenticate", json=given, headers=account.bearer)
    assert answer.status_code == 204
    assert held == [0, 0, 0]


async def test_released_refuses_when_changes_would_be_lost(client: AsyncClient) -> None:
    account = await signed_in(client)
    async with new_session() as db:
        user = await users.get_by_email(db, account.email)
        assert user is not None
        await users.update(db, db_obj=user, obj_in={"full_name": "lost"})
        with pytest.raises(RuntimeError, match="would be lost"):
            async with released(db):
                pass


async def test_sign_in_and_reading_go_on_without_redis(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.core import redis

    monkeypatch.setattr(redis, "redis_url", lambda: "redis://127.0.0.1:1/0")
    account = await signed_in(client)
    answers = await asyncio.gather(*(account.me() for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200] * 3
