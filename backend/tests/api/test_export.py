"""All that is held about a person, for that person alone, for a day."""

import asyncio
import json
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from httpx2 import AsyncClient, Response
from sqlmodel import SQLModel, col, func, select, update

from app.core.clock import utc_now
from app.core.db import new_session
from app.crud import export as rows
from app.crud import held
from app.models import BackgroundTask, Export, ExportChunk, TaskStatus, User
from app.services import export
from app.services.export import MAX_SIZE
from app.worker.context import current_task
from app.worker.tasks.accounts import ExportGone, export_account
from tests.carrying import carry_out
from tests.factories import make_task
from tests.flows import V1, Account, problem, signed_in
from tests.sweeping import sweep
from tests.waiting import eventually

DAY = timedelta(hours=24)


async def ask(account: Account) -> Response:
    return await account.client.post(f"{V1}/users/me/export", headers=account.bearer)


async def promised(account: Account) -> UUID:
    """The task of an export that was asked for, which no worker that runs beside this test takes up."""
    user_id = UUID((await account.me()).json()["id"])
    async with new_session() as db:
        task = await export.request(db, await db.get_one(User, user_id))
        task.run_at = utc_now() + DAY
        await db.commit()
        return task.id


async def exported(account: Account) -> str:
    """The address of a finished export of this account."""
    asked = await ask(account)
    assert asked.status_code == 202, asked.text
    row = await carry_out(asked.json()["id"])
    assert row.status == TaskStatus.succeeded, row.error_code
    assert row.result is not None
    return str(row.result["url"])


async def fetch(account: Account, url: str) -> Response:
    return await account.client.get(url, headers=account.bearer)


async def stored(model: type[SQLModel]) -> int:
    async with new_session(read_only=True) as db:
        return (await db.exec(select(func.count()).select_from(model))).one()


async def test_an_export_is_promised_as_a_task_of_its_owner(client: AsyncClient) -> None:
    account = await signed_in(client)
    asked = await ask(account)
    assert asked.status_code == 202
    assert asked.headers["location"] == f"{V1}/tasks/{asked.json()['id']}"
    task = await client.get(asked.headers["location"], headers=account.bearer)
    assert (task.status_code, task.headers["cache-control"]) == (200, "no-store")
    told = asked.json()
    assert set(told) == set(task.json()) == {
        "id", "task_type", "status", "progress", "message", "attempts", "max_attempts", "run_at", "created_at",
        "started_at", "completed_at", "result", "error",
    }  # fmt: skip
    assert (told["task_type"], told["progress"], told["error"]) == ("export_account", 0, None)


@pytest.mark.usefixtures("worker")
async def test_a_worker_makes_the_file_and_its_task_says_where_it_is(client: AsyncClient) -> None:
    account = await signed_in(client)
    location = (await ask(account)).headers["location"]

    async def finished() -> dict | None:
        told = (await client.get(location, headers=account.bearer)).json()
        return told if told["status"] == "succeeded" else None

    told = await eventually(finished)
    answer = await fetch(account, told["result"]["url"])
    assert answer.status_code == 200
    assert len(answer.content) == told["result"]["size"] == int(answer.headers["content-length"])
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["account"][0]["email"] == account.email


async def test_the_file_has_what_is_held_and_no_secret(db, client: AsyncClient) -> None:
    account = await signed_in(client)
    await client.post(f"{V1}/auth/login", json={"email": account.email, "password": "wrong-one"})
    user_id = (await account.me()).json()["id"]
    found = (await fetch(account, await exported(account))).json()
    assert found["complete"] is True
    assert found["account"][0]["id"] == user_id
    assert len(found["sessions"]) == 1
    assert found["sessions"][0]["ip"] == "127.0.0.1"
    assert {task["task_type"] for task in found["tasks"]} == {"verify_email", "export_account"}
    assert not any("task_data" in task for task in found["tasks"]), "some of it may be sensitive"
    assert found["mail_links"][0]["email"] == account.email
    actions = {event["action"]: event for event in found["security_events"]}
    assert set(actions) == {"user_registered", "session_opened", "sign_in_failed", "export_requested"}
    assert (actions["session_opened"]["by_you"], actions["sign_in_failed"]["by_you"]) == (True, False)
    assert actions["session_opened"]["ip"] == "127.0.0.1"
    assert actions["session_opened"]["user_agent"]
    text = json.dumps(found)
    for secret in ("argon2", "salt", "session_token", "key_id", *account.pair["refresh_token"].split(".")):
        assert secret not in text


async def test_nobody_else_can_fetch_it(client: AsyncClient, new_client) -> None:
    account, stranger = await signed_in(client), await signed_in(new_client())
    url = await exported(account)
    assert problem(await fetch(stranger, url)) == (404, "not_found")
    assert problem(await client.get(url)) == (401, "not_authenticated")
    task = await ask(stranger)
    assert problem(await client.get(task.headers["location"], headers=account.bearer)) == (404, "not_found")
    own = await exported_again(stranger, task.json()["id"])
    assert problem(await fetch(account, own)) == (404, "not_found")
    assert problem(await fetch(account, f"{V1}/users/me/export/{uuid4()}")) == (404, "not_found")


async def exported_again(account: Account, task_id: str) -> str:
    row = await carry_out(task_id)
    assert row.result is not None
    return str(row.result["url"])


async def test_one_is_alive_at_a_time(client: AsyncClient, clock) -> None:
    account = await signed_in(client)
    answers = await asyncio.gather(*(ask(account) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [202, 429, 429, 429, 429]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert problem(refused) == (429, "export_exists")
    assert 86_300 <= int(refused.headers["retry-after"]) <= 86_400
    promised = next(answer for answer in answers if answer.status_code == 202)
    url = await exported_again(account, promised.json()["id"])
    assert problem(await ask(account)) == (429, "export_exists")
    assert (await fetch(account, url)).status_code == 200
    clock.advance(DAY + timedelta(seconds=1))
    again = Account(client, account.email)
    assert (await again.login()).status_code == 200
    assert problem(await fetch(again, url)) == (404, "not_found")
    assert (await ask(again)).status_code == 202
    assert await stored(Export) == 1


@pytest.mark.parametrize("status", [TaskStatus.failed, TaskStatus.cancelled])
async def test_one_that_failed_is_in_nobodys_way(client: AsyncClient, status: TaskStatus) -> None:
    account = await signed_in(client)
    task_id = await promised(account)
    async with new_session() as db:
        await db.exec(update(BackgroundTask).where(col(BackgroundTask.id) == task_id).values(status=status))
        await db.commit()
    assert (await ask(account)).status_code == 202


async def test_the_sweep_takes_what_has_expired(db, client: AsyncClient, clock) -> None:
    account = await signed_in(client)
    await exported(account)
    assert await stored(ExportChunk) == 1
    clock.advance(DAY + timedelta(seconds=1))
    assert (await sweep(db))["exports"] == 1
    await db.commit()
    assert await stored(ExportChunk) == 0


async def test_a_half_export_of_a_dead_worker_is_made_anew(client: AsyncClient) -> None:
    account = await signed_in(client)
    task_id = await promised(account)
    user_id = UUID((await account.me()).json()["id"])
    half = Export(user_id=user_id, task_id=task_id, expires_at=(await own(user_id)).expires_at)
    async with new_session() as db:
        assert await rows.begin(db, half)
        assert await rows.add_chunk(db, half.id, 0, b'{"half": ')
        await db.commit()
    assert problem(await fetch(account, f"{V1}/users/me/export/{half.id}")) == (404, "not_found")
    url = await exported_again(account, str(task_id))
    assert (await fetch(account, url)).json()["complete"] is True
    async with new_session() as db:  # the first attempt was not dead after all: it finds nothing to write to
        assert not await rows.add_chunk(db, half.id, 1, b"1}")
        assert not await rows.finish(db, half.id, size=10, expires_at=half.expires_at)


async def own(user_id: UUID) -> Export:
    async with new_session(read_only=True) as db:
        found = await rows.of_user(db, user_id)
    assert found is not None
    return found


async def test_an_account_that_goes_meanwhile_leaves_no_export(client: AsyncClient) -> None:
    account = await signed_in(client)
    asked = await ask(account)
    user_id = UUID((await account.me()).json()["id"])
    assert (await client.delete(f"{V1}/users/me", headers=account.bearer)).status_code == 204
    current_task.set(UUID(asked.json()["id"]))
    with pytest.raises(ExportGone):
        await export_account(user_id)
    assert await stored(Export) == await stored(ExportChunk) == 0


async def test_what_is_too_much_is_left_out_and_said(db, client: AsyncClient) -> None:
    account = await signed_in(client)
    user_id = UUID((await account.me()).json()["id"])
    owner = await db.get_one(held.User, user_id)
    for _ in range(6):
        await make_task(db, owner, result={"text": "x" * 10_000_000})
    url = await exported(account)
    answer = await fetch(account, url)
    assert answer.status_code == 200
    assert 40_000_000 < len(answer.content) <= MAX_SIZE
    found = answer.json()
    assert found["complete"] is False
    assert found["account"][0]["email"] == account.email


# --- nothing is forgotten -------------------------------------------------------------------------------------------


def refer_to_users() -> set[str]:
    """Tables with a reference to users, and those that name a person without one."""
    return {
        table.name
        for table in SQLModel.metadata.tables.values()
        if "user_id" in table.columns or any(key.column.table.name == "users" for key in table.foreign_keys)
    } | {"users", "audit_events"}


def test_every_table_that_refers_to_accounts_is_in_the_export() -> None:
    parts = (*held.PARTS, held.ORIGIN)
    assert {part.table.name for part in parts} == refer_to_users()
    for part in parts:
        named = [*part.shown, *part.kept_back]
        assert sorted(named) == sorted(column.name for column in part.table.columns), part.name
