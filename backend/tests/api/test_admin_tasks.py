"""Everybody's tasks, for those who look after them."""

import asyncio
from uuid import UUID

import pytest
from httpx2 import AsyncClient, Response
from sqlmodel import col, select

from app.core.db import new_session
from app.models import AuditEvent, BackgroundTask, TaskStatus, TaskType, User
from tests.factories import make_task
from tests.flows import V1, Account, problem, signed_in
from tests.staff import id_of, with_roles

TASKS = f"{V1}/admin/tasks"


@pytest.fixture
async def admin(client: AsyncClient) -> Account:
    return await with_roles(client, "admin")


async def listed(account: Account, **query: object) -> list[dict]:
    answer = await account.client.get(TASKS, params={"limit": 100, **query}, headers=account.bearer)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()["items"]


async def post(account: Account, task: BackgroundTask, what: str) -> Response:
    return await account.client.post(f"{TASKS}/{task.id}/{what}", headers=account.bearer)


async def audited(task: BackgroundTask) -> list[tuple[str, UUID | None, str | None]]:
    statement = select(AuditEvent.action, AuditEvent.actor_id, AuditEvent.target_type)
    async with new_session(read_only=True) as db:
        found = await db.exec(statement.where(AuditEvent.target_id == str(task.id)).order_by(col(AuditEvent.id)))
        return list(found.all())


async def test_staff_see_the_tasks_of_everybody_and_of_the_service(db, admin: Account, new_client) -> None:
    somebody = await signed_in(new_client())
    owner = await db.get_one(User, await id_of(somebody))
    own = await make_task(db, owner, priority=3, task_data={"key": "an-argument"})
    service = await make_task(db, None, task_type=TaskType.sweep)
    found = {task["id"]: task for task in await listed(admin)}
    shown = {name: found[str(own.id)][name] for name in ("user_id", "queue", "priority")}
    assert shown == {"user_id": str(owner.id), "queue": "default", "priority": 3}
    assert found[str(service.id)]["user_id"] is None
    seen = (await somebody.client.get(f"{V1}/tasks/{own.id}", headers=somebody.bearer)).json()
    assert {name: found[str(own.id)][name] for name in seen} == seen
    assert "an-argument" not in str(found)


async def test_a_list_can_be_narrowed(db, admin: Account, new_client) -> None:
    owner = await db.get_one(User, await id_of(await signed_in(new_client())))
    other = await db.get_one(User, await id_of(admin))
    failed = await make_task(db, owner, status=TaskStatus.failed, task_type=TaskType.welcome_email)
    await make_task(db, other, status=TaskStatus.failed, task_type=TaskType.welcome_email)
    wanted = {"user_id": str(owner.id), "status": "failed", "task_type": "welcome_email"}
    assert [task["id"] for task in await listed(admin, **wanted)] == [str(failed.id)]
    assert {task["user_id"] for task in await listed(admin, user_id=str(owner.id))} == {str(owner.id)}
    assert {task["status"] for task in await listed(admin, status="failed")} == {"failed"}
    assert {task["task_type"] for task in await listed(admin, task_type="welcome_email")} == {"welcome_email"}


async def test_support_reads_and_does_not_write(db, client: AsyncClient) -> None:
    support = await with_roles(client, "support")
    task = await make_task(db, None, status=TaskStatus.failed)
    assert str(task.id) in {one["id"] for one in await listed(support)}
    for what in ("cancel", "retry"):
        assert problem(await post(support, task, what)) == (403, "permission_denied")
    assert await audited(task) == []


async def test_an_admin_cancels_and_retries_anybodys_task_and_it_is_audited(db, admin: Account, new_client) -> None:
    owner = await db.get_one(User, await id_of(await signed_in(new_client())))
    task = await make_task(db, owner, status=TaskStatus.queued, attempts=2)
    cancelled = await post(admin, task, "cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    retried = await post(admin, task, "retry")
    assert (retried.status_code, retried.json()["status"], retried.json()["attempts"]) == (200, "pending", 2)
    assert retried.json()["user_id"] == str(owner.id)
    me = await id_of(admin)
    assert await audited(task) == [("task_cancelled", me, "task"), ("task_retried", me, "task")]


@pytest.mark.parametrize(
    ("status", "what", "code"),
    [(TaskStatus.succeeded, "cancel", "task_finished"), (TaskStatus.running, "retry", "task_not_retryable")],
)
async def test_what_is_refused_is_not_audited(db, admin: Account, status: TaskStatus, what: str, code: str) -> None:
    task = await make_task(db, None, status=status)
    assert problem(await post(admin, task, what)) == (409, code)
    assert await audited(task) == []


@pytest.mark.parametrize(
    ("status", "what", "code"),
    [(TaskStatus.pending, "cancel", "task_finished"), (TaskStatus.failed, "retry", "task_not_retryable")],
)
async def test_of_two_admins_at_once_one_does_it(
    db, admin: Account, new_client, status: TaskStatus, what: str, code: str
) -> None:
    other = await with_roles(new_client(), "admin")
    for _ in range(5):
        task = await make_task(db, None, status=status, queue="elsewhere")  # where no worker has a hand in it
        await db.commit()
        answers = await asyncio.gather(post(admin, task, what), post(other, task, what))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        assert [problem(answer)[1] for answer in answers if answer.status_code == 409] == [code]
        assert len(await audited(task)) == 1
