"""`neoforge tasks …` on a database of its own. No Redis answers there: the commands need none."""

import os
from datetime import timedelta
from uuid import UUID

import pytest
from sqlmodel import select

from app.cli import promised
from app.cli.tasks import ENDED, STATES
from app.crud.purging import PORTION
from app.models import BackgroundTask, TaskStatus, TaskType
from app.models.background_task import ALIVE
from tests.factories import ago, make_task, make_user
from tests.operating import Operator, operator, own, told
from tests.processes import free_port

__all__ = ["operator", "own"]
MISSING = "019a0000-0000-7000-8000-000000000000"


@pytest.fixture(autouse=True)
def _no_redis(operator: Operator) -> None:
    operator.env["REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"


async def made(operator: Operator, **fields: object) -> UUID:
    async with operator.audit.session() as db:
        return (await make_task(db, **fields)).id


async def kept(operator: Operator) -> set[UUID]:
    async with operator.audit.session() as db:
        return set((await db.exec(select(BackgroundTask.id))).all())


def test_the_commands_know_every_state() -> None:
    assert set(STATES) == set(TaskStatus)
    assert set(ENDED) == set(TaskStatus) - set(ALIVE)


async def test_a_list_is_newest_first_and_can_be_narrowed(operator: Operator) -> None:
    async with operator.audit.session() as db:
        owner = await make_user(db, email="owner@example.com")
        theirs = [(await make_task(db, owner)).id for _ in range(3)]
    failed = await made(operator, status=TaskStatus.failed, task_type=TaskType.welcome_email)
    report = await made(operator, queue="reports")

    async def listed(*options: str) -> list[str]:
        return [one["id"] for one in await operator.lines("tasks", "list", *options)]

    newest_first = [str(one) for one in (report, failed, *theirs[::-1])]
    assert await listed() == newest_first
    assert await listed("--limit", "2") == newest_first[:2]
    assert await listed("--status", "failed") == await listed("--type", "welcome_email") == [str(failed)]
    assert await listed("--queue", "reports") == [str(report)]
    assert await listed("--user", str(owner.id)) == await listed("--user", "Owner@Example.com") == newest_first[2:]
    assert "no account" in told(await operator("tasks", "list", "--user", "nobody@example.com", code=1))
    lines = (await operator("tasks", "list", "--limit", "1")).stdout.splitlines()
    assert [line.split()[0] for line in lines] == [str(report)]


async def test_a_list_may_be_longer_than_a_page(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    async with operator.audit.session() as db:
        db.add_all([BackgroundTask(task_type=TaskType.sweep) for _ in range(promised.MOST + 5)])
        await db.commit()
    for limit, number in ((promised.MOST + 1, promised.MOST + 1), (1_000, promised.MOST + 5)):
        ids = [one["id"] for one in await operator.lines("tasks", "list", "--limit", str(limit))]
        assert ids == sorted(set(ids), reverse=True)
        assert len(ids) == number


async def test_a_task_is_shown_whole(operator: Operator) -> None:
    task_id = await made(
        operator,
        status=TaskStatus.failed,
        task_data={"user_id": MISSING},
        dedupe_key="one",
        attempts=3,
        revision=7,
        error_code="gone",
        error_detail="Away.",
    )
    (shown,) = await operator.lines("tasks", "show", str(task_id))
    assert set(shown) == set(BackgroundTask.model_fields)
    expected = {
        "id": str(task_id), "status": "failed", "task_data": {"user_id": MISSING}, "dedupe_key": "one", "attempts": 3,
        "revision": 7, "error_code": "gone", "error_detail": "Away.", "lease_until": None, "queue": "default",
    }  # fmt: skip
    assert shown | expected == shown
    text = (await operator("tasks", "show", str(task_id))).stdout
    assert [line.split()[0] for line in text.splitlines()] == list(shown)
    assert f'{{"user_id": "{MISSING}"}}' in text


async def test_sensitive_arguments_are_shown_to_nobody(operator: Operator) -> None:
    secret = "192.0.2.77"
    arguments = {"user_id": MISSING, "notice": "theft", "at": "now", "ip": secret}
    declared = await made(operator, task_type=TaskType.security_notice, task_data=arguments)
    unknown = await made(operator, task_type="of_an_older_release", task_data={"ip": secret})
    for task_id in (declared, unknown):
        printed = (await operator("tasks", "show", str(task_id))).stdout
        assert str(task_id) in printed
        assert secret not in printed
    hidden, shown = await operator.lines("tasks", "list")
    assert (hidden["id"], hidden["task_data"]) == (str(unknown), {"ip": "[hidden]"})
    assert (shown["id"], shown["task_data"]) == (str(declared), {**arguments, "ip": "[hidden]"})


async def test_no_text_of_a_task_moves_the_terminal(operator: Operator) -> None:
    evil = "\x1b[2J\nforged \x9b1A\u202e"
    task_id = await made(
        operator, task_type=evil, queue=evil, error_code=evil, error_detail=evil, message=evil, result={evil: evil}
    )
    for words in (["list"], ["show", str(task_id)], ["list", "--json"], ["queues"]):
        printed = (await operator("tasks", *words)).stdout
        assert all(letter.isprintable() or letter == "\n" for letter in printed)
        assert not [line for line in printed.splitlines() if line.startswith("forged")]


async def test_tasks_are_cancelled_and_run_again_each_by_itself(operator: Operator) -> None:
    waits, runs, over = (
        await made(operator, status=TaskStatus.pending, completed_at=None),
        await made(operator, status=TaskStatus.running, completed_at=None),
        await made(operator),
    )
    ids = [str(one) for one in (waits, over, runs)]
    done = await operator("tasks", "cancel", ids[0], ids[1], MISSING, ids[2], code=1)
    assert done.stdout.splitlines() == [f"{waits} is cancelled", f"{runs} was asked to stop"]
    assert told(done).count(str(over)) == told(done).count(MISSING) == 1
    assert str(waits) not in told(done)
    assert (await operator.row(waits)).status == TaskStatus.cancelled
    row = await operator.row(runs)
    assert (row.status, row.cancel_requested) == (TaskStatus.running, True)

    failed = await made(operator, status=TaskStatus.failed, attempts=3, error_code="gone")
    done = await operator("tasks", "retry", str(failed), str(over), str(waits), code=1)
    assert done.stdout.splitlines() == [f"{failed} runs again", f"{waits} runs again"]
    assert str(over) in told(done)
    row = await operator.row(failed)
    assert (row.status, row.attempts, row.error_code, row.completed_at) == (TaskStatus.pending, 3, None, None)
    assert await operator.audited() == [
        *(("task_cancelled", str(task_id)) for task_id in (waits, runs)),
        *(("task_retried", str(task_id)) for task_id in (failed, waits)),
    ]


async def test_a_purge_deletes_what_has_ended_long_ago_and_nothing_alive(operator: Operator) -> None:
    old = ago(days=400)
    alive = {
        await made(operator, status=state, created_at=old, run_at=old, started_at=old, completed_at=None)
        for state in ALIVE
    }
    late = {await made(operator, status=state, completed_at=ago(days=29), created_at=old) for state in ENDED}
    failed, cancelled, _ = [
        await made(operator, status=state, completed_at=ago(days=31)) for state in ("failed", "cancelled", "succeeded")
    ]
    purge = ("tasks", "purge", "--older-than", "30d")
    assert "--yes" in told(await operator(*purge, code=2))
    assert len(await kept(operator)) == 9, "nobody has said yes"
    assert (await operator(*purge, "--yes", "--status", "succeeded")).stdout == "deleted 1 tasks\n"
    assert await kept(operator) == {*alive, *late, failed, cancelled}
    assert (await operator(*purge, "--yes")).stdout == "deleted 2 tasks\n"
    assert await kept(operator) == alive | late
    assert (await operator("tasks", "purge", "--older-than", "1m", "--yes")).stdout == "deleted 3 tasks\n"
    assert await kept(operator) == alive


async def test_a_purge_goes_on_past_one_transaction(operator: Operator) -> None:
    async with operator.audit.session() as db:
        db.add_all(
            BackgroundTask(task_type=TaskType.sweep, status=TaskStatus.succeeded, completed_at=ago(days=2))
            for _ in range(PORTION + 1)
        )
        await db.commit()
    done = await operator("tasks", "purge", "--older-than", "47h", "--yes")
    assert done.stdout == f"deleted {PORTION + 1} tasks\n"
    assert await kept(operator) == set()


async def test_a_purge_deletes_a_bounded_number_at_once(operator: Operator) -> None:
    for _ in range(3):
        await made(operator)
    async with operator.audit.session() as db:
        gone = await promised.rows.purge_some(db, [TaskStatus.succeeded], older_than=timedelta(days=1), most=2)
        await db.commit()
    assert (gone, len(await kept(operator))) == (2, 1)


async def test_queues_say_what_stands_in_them(operator: Operator) -> None:
    await operator.promise(run_at=ago(seconds=100))
    await operator.promise(run_at=ago(seconds=50))
    await operator.promise(run_at=ago(hours=-1))
    for state in ("queued", "running", "running", "failed"):
        await operator.promise(status=state)
    await operator.promise(queue="forgotten", run_at=ago(hours=-1))
    env = {"TASK_QUEUES": "default,reports"}
    assert "from now on" in (await operator("tasks", "pause", "reports", **env)).stdout
    default, reports, forgotten = await operator.lines("tasks", "queues", **env)
    assert (default["queue"], reports["queue"], forgotten["queue"]) == ("default", "reports", "forgotten")
    assert [default[name] for name in ("due", "later", "rung", "running")] == [2, 1, 1, 2]
    assert 100 <= default["oldest_due_seconds"] < 700
    assert (default["paused_since"], reports["due"], reports["oldest_due_seconds"]) == (None, 0, None)
    assert reports["paused_since"].endswith("Z")
    assert (forgotten["later"], forgotten["oldest_due_seconds"]) == (1, None)
    table = (await operator("tasks", "queues", **env)).stdout.splitlines()
    assert [line.split()[0] for line in table] == ["queue", "default", "reports", "forgotten"]


async def test_a_queue_is_paused_once_and_resumed_once(operator: Operator) -> None:
    for command, times in (("pause", ("from now on", "already")), ("resume", ("from now on", "already"))):
        for words in times:
            assert (await operator("tasks", command, "default")).stdout.strip().endswith(words)
    assert await operator.audited() == [("queue_paused", "default"), ("queue_resumed", "default")]
    await operator("tasks", "pause", "reports", TASK_QUEUES="default,reports")
    await operator("tasks", "resume", "reports")  # TASK_QUEUES names it no more, and it is not paused for ever


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pause", "nowhere"], "default"),
        (["resume", "nowhere"], "default"),
        (["list", "--status", "lost"], "failed"),
        (["list", "--limit", "0"], "--limit"),
        (["list", "--type", "\udcff"], "not UTF-8"),
        (["show", "no-id"], "--help"),
        (["cancel"], "--help"),
        (["purge", "--yes"], "--older-than"),
        (["purge", "--yes", "--older-than", "0d"], "30d"),
        (["purge", "--yes", "--older-than", "30d", "--status", "running"], "succeeded"),
    ],
)
async def test_wrong_use_is_told(operator: Operator, words: list[str], said: str) -> None:
    refused = await operator("tasks", *words, code=2)
    assert said in told(refused)
    assert refused.stderr.count("\n") == 1


async def test_a_task_that_is_not_there_is_told(operator: Operator) -> None:
    for words in (["show", MISSING], ["cancel", MISSING], ["retry", MISSING]):
        assert "no task" in told(await operator("tasks", *words, code=1))


async def test_a_worker_of_a_queue_that_is_not_there_does_not_start(operator: Operator) -> None:
    for queues in ("nowhere", "default,nowhere", ""):
        assert "TASK_QUEUES" in told(await operator("worker", "--queues", queues, code=2))
    assert os.environ.get("TASK_QUEUES") is None
