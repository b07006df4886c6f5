"""Background tasks as their owner sees them."""

from uuid import UUID

import pytest
from httpx2 import AsyncClient

from app.models import TaskStatus, TaskType, User
from tests.factories import make_task
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
