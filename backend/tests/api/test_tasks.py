"""Background tasks as their owner sees them."""

import json
from uuid import UUID

import pytest
from httpx2 import AsyncClient, Response

from app.core.db import new_session
from app.core.sql import new_id
from app.models import BackgroundTask, TaskStatus, TaskType, User
from tests.carrying import carry_out
from tests.factories import ago, make_task
from tests.flows import V1, Account, problem, signed_in


async def tasks_of(account: Account, **query: str | int) -> dict:
    answer = await account.client.get(f"{V1}/tasks", params=query, headers=account.bearer)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def test_a_list_has_the_own_tasks_newest_first_page_by_page(db, client: AsyncClient, new_client) -> None:
    account, stranger = await signed_in(client), await signed_in(new_client())
    owner = await db.get_one(User, UUID((await account.me()).json()["id"]))
    made = [str((await make_task(db, owner)).id) for _ in range(5)]
    first = await tasks_of(account, limit=3)
    rest = await tasks_of(account, limit=3, cursor=first["next_cursor"])
    seen = [task["id"] for task in first["items"] + rest["items"]]
    assert seen[:5] == made[::-1]
    assert rest["next_cursor"] is None
    assert not {task["id"] for task in (await tasks_of(stranger))["items"]} & set(seen)


async def test_a_list_can_be_narrowed(db, client: AsyncClient) -> None:
    account = await signed_in(client)
    owner = await db.get_one(User, UUID((await account.me()).json()["id"]))
    failed = await make_task(
        db, owner, status=TaskStatus.failed, task_type=TaskType.welcome_email, error_code="gone", error_detail="Away."
    )
    for query in ({"status": "failed"}, {"task_type": "welcome_email"}):
        items = (await tasks_of(account, **query))["items"]
        assert [task["id"] for task in items] == [str(failed.id)]
        assert items[0]["error"] == {"code": "gone", "detail": "Away."}
    assert (await tasks_of(account, status="failed", task_type="verify_email"))["items"] == []


@pytest.mark.parametrize("query", ["status=lost", "task_type=nothing", "cursor=x", "limit=0", "limit=101"])
async def test_what_does_not_exist_cannot_be_asked_for(client: AsyncClient, query: str) -> None:
    account = await signed_in(client)
    answer = await client.get(f"{V1}/tasks?{query}", headers=account.bearer)
    assert problem(answer) == (422, "validation_failed")


# --- one task -------------------------------------------------------------------------------------------------------


async def own_task(db, account: Account, **fields: object) -> BackgroundTask:
    owner = await db.get_one(User, UUID((await account.me()).json()["id"]))
    return await make_task(db, owner, **fields)


async def post(account: Account, task: BackgroundTask, what: str) -> Response:
    return await account.client.post(f"{V1}/tasks/{task.id}/{what}", headers=account.bearer)


async def row(task: BackgroundTask) -> BackgroundTask:
    async with new_session(read_only=True) as db:
        return await db.get_one(BackgroundTask, task.id)


@pytest.mark.parametrize("status", [TaskStatus.pending, TaskStatus.queued])
async def test_a_waiting_task_that_is_cancelled_never_runs(db, account: Account, status: TaskStatus) -> None:
    task = await own_task(db, account, status=status, completed_at=None, started_at=None)
    answer = await post(account, task, "cancel")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.headers["cache-control"]) == ("cancelled", "no-store")
    assert answer.json()["completed_at"]
    ended = await carry_out(task.id)
    assert (ended.status, ended.attempts) == (TaskStatus.cancelled, 0)


async def test_a_running_task_that_is_cancelled_is_asked_to_stop(db, account: Account) -> None:
    lease = ago(days=-1)
    task = await own_task(db, account, status=TaskStatus.running, completed_at=None, attempts=1, lease_until=lease)
    answer = await post(account, task, "cancel")
    assert (answer.status_code, answer.json()["status"], answer.json()["completed_at"]) == (200, "running", None)
    asked = await row(task)
    assert (asked.cancel_requested, asked.lease_until, asked.status) == (True, lease, TaskStatus.running)


@pytest.mark.parametrize("status", [TaskStatus.succeeded, TaskStatus.failed, TaskStatus.cancelled])
async def test_a_task_that_has_ended_is_not_cancelled(db, account: Account, status: TaskStatus) -> None:
    task = await own_task(db, account, status=status, result={"made": 1})
    assert problem(await post(account, task, "cancel")) == (409, "task_finished")
    assert await row(task) == task


@pytest.mark.parametrize("status", [TaskStatus.failed, TaskStatus.cancelled])
async def test_a_task_that_failed_or_was_cancelled_runs_again_with_its_attempts_kept(
    db, account: Account, status: TaskStatus
) -> None:
    task = await own_task(db, account, status=status, attempts=3, error_code="gone", error_detail="Away.", progress=0.5)
    answer = await post(account, task, "retry")
    assert answer.status_code == 200
    again = answer.json()
    assert {name: again[name] for name in ("status", "attempts", "progress", "error", "completed_at")} == {
        "status": "pending", "attempts": 3, "progress": 0.0, "error": None, "completed_at": None,
    }  # fmt: skip


@pytest.mark.parametrize("status", [TaskStatus.pending, TaskStatus.queued, TaskStatus.running, TaskStatus.succeeded])
async def test_no_other_task_is_tried_again(db, account: Account, status: TaskStatus) -> None:
    task = await own_task(db, account, status=status, run_at=ago(days=-1))
    assert problem(await post(account, task, "retry")) == (409, "task_not_retryable")
    assert await row(task) == task


async def test_a_task_is_not_tried_again_while_another_does_the_same(db, account: Account) -> None:
    failed = await own_task(db, account, status=TaskStatus.failed, dedupe_key="the-same")
    await own_task(db, account, status=TaskStatus.pending, dedupe_key="the-same", run_at=ago(days=-1))
    assert problem(await post(account, failed, "retry")) == (409, "task_not_retryable")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry")])
async def test_a_task_of_somebody_else_is_not_there(db, account: Account, new_client, method: str, path: str) -> None:
    stranger = await signed_in(new_client())
    tasks = [await own_task(db, account, status=status) for status in (TaskStatus.failed, TaskStatus.pending)]
    for task_id in (*(task.id for task in tasks), new_id()):
        answer = await stranger.client.request(method, f"{V1}/tasks/{task_id}{path}", headers=stranger.bearer)
        assert problem(answer) == (404, "not_found")
    assert [(await row(task)).status for task in tasks] == [TaskStatus.failed, TaskStatus.pending]


async def test_no_answer_shows_a_tasks_arguments(db, account: Account) -> None:
    task = await own_task(db, account, status=TaskStatus.failed, task_data={"key": "an-argument"})
    path = f"{V1}/tasks/{task.id}"
    for method, url in (
        ("GET", f"{V1}/tasks"), ("GET", path), ("GET", f"{path}/events"),
        ("POST", f"{path}/retry"), ("POST", f"{path}/cancel"),
    ):  # fmt: skip
        answer = await account.client.request(method, url, headers=account.bearer)
        assert answer.status_code == 200, url
        assert str(task.id) in answer.text
        assert "an-argument" not in answer.text


async def test_the_events_of_a_task_that_has_ended_are_its_last_state(db, account: Account) -> None:
    task = await own_task(db, account)
    url = f"{V1}/tasks/{task.id}"
    answer = await account.client.get(f"{url}/events", headers=account.bearer)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")
    number, data, *rest = answer.text.split("\n")
    assert (number, rest) == (f"id: {task.revision}", ["", ""])
    assert json.loads(data.removeprefix("data: ")) == (await account.client.get(url, headers=account.bearer)).json()


async def test_who_has_seen_the_last_state_is_told_to_stop(db, account: Account) -> None:
    task = await own_task(db, account, revision=7)
    url = f"{V1}/tasks/{task.id}/events"
    answer = await account.client.get(url, headers={**account.bearer, "Last-Event-ID": "7"})
    assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (204, b"", "no-store")


@pytest.mark.parametrize("seen", ["", "6", "8", "07", "7.0", "-7", "seven", "7, 7", "\u00b2", "9" * 200])
async def test_any_other_last_event_id_is_as_none(db, account: Account, seen: str) -> None:
    task = await own_task(db, account, revision=7)
    headers = {**account.bearer, "Last-Event-ID": seen.encode()}
    answer = await account.client.get(f"{V1}/tasks/{task.id}/events", headers=headers)
    assert answer.text.startswith("id: 7\n")
