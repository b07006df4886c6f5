"""What time makes useless goes, and nothing that is still of use."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlmodel import SQLModel, col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession
from structlog.testing import capture_logs

from app.core.db import new_session
from app.core.sql import db_now
from app.crud import change, purging
from app.models import BackgroundTask, Change, Heartbeat, MailPurpose, MailToken, TaskStatus, TaskType, UserSession
from app.models.mail_budget import MailBudget
from app.services import maintenance, tasks
from tests.carrying import carry_out
from tests.factories import ago, make_session, make_task, make_user
from tests.sweeping import sweep

WENT = {"user_sessions": 1, "mail_tokens": 1, "changes": 1, "heartbeats": 1, "background_tasks": 2}
TABLES: tuple[type[SQLModel], ...] = (UserSession, MailToken, Change, Heartbeat, BackgroundTask)


async def fill() -> dict[str, set[object]]:
    """Put into each table something that is past its time and something that is not: the ids of what may stay."""
    async with new_session() as db:
        user, other = await make_user(db), await make_user(db)
        kept: dict[str, set[object]] = {}
        # A session stays for a week after its end, so that a late refresh token is told what happened.
        await make_session(db, user, expires_at=ago(days=7, minutes=1))
        kept["user_sessions"] = {(await make_session(db, user, expires_at=ago(days=6, hours=23))).id}
        for owner, expires_at in ((user, ago(seconds=1)), (other, ago(seconds=-60))):
            made = MailToken(
                user_id=owner.id, purpose=MailPurpose.verify, email=owner.email, key_id="none", salt=b"0" * 16,
                expires_at=expires_at,
            )  # fmt: skip
            db.add(made)
        kept["mail_tokens"] = {made.id}
        old, new = str(uuid4()), str(uuid4())
        for subject, created_at in ((old, ago(hours=1, minutes=1)), (new, ago(minutes=59))):
            await change.record(db, change.USER, subject)
            await db.flush()
            row = (await db.exec(select(Change).where(Change.subject == subject))).one()
            row.created_at = created_at
        kept["changes"] = {row.id}
        silent = Heartbeat(id=uuid4(), role="swept", seen_at=db_now(timedelta(hours=-1, seconds=-5)))
        quiet = Heartbeat(id=uuid4(), role="swept", seen_at=db_now(timedelta(minutes=-59)))
        db.add_all([silent, quiet])
        kept["heartbeats"] = {quiet.id}
        await make_task(db, completed_at=ago(days=31))
        await make_task(db, status=TaskStatus.failed, completed_at=ago(days=91))
        stay = (
            await make_task(db, completed_at=ago(days=29)),
            await make_task(db, status=TaskStatus.failed, completed_at=ago(days=89)),
            await make_task(db, status=TaskStatus.running, completed_at=None, created_at=ago(days=400)),
        )
        kept["background_tasks"] = {task.id for task in stay}
        await db.commit()
    return kept


async def left() -> dict[str, set[object]]:
    found: dict[str, set[object]] = {}
    async with new_session(read_only=True) as db:
        for table in TABLES:
            rows = (await db.exec(select(table))).all()
            found[str(table.__tablename__)] = {
                row.id for row in rows if not isinstance(row, Heartbeat) or row.role == "swept"
            }
    return found


@pytest.fixture
async def kept(clean: None) -> dict[str, set[object]]:
    return await fill()


async def test_what_is_past_its_time_goes_and_the_rest_stays(kept: dict[str, set[object]]) -> None:
    async with new_session() as db:
        gone = await sweep(db)
        await db.commit()
    assert {name: gone[name] for name in kept} == WENT
    assert await left() == kept
    async with new_session() as db:
        assert not any((await sweep(db)).values()), "a second time there is nothing left to do"


async def test_the_sweep_is_a_task_that_says_what_went(kept: dict[str, set[object]]) -> None:
    async with new_session() as db:
        asked, again = await tasks.enqueue(db, TaskType.sweep), await tasks.enqueue(db, TaskType.sweep)
        await db.commit()
    swept = await carry_out(asked.id)
    assert swept.result
    assert {name: swept.result[name] for name in kept} == WENT
    found = await left()
    assert found.pop("background_tasks") == kept.pop("background_tasks") | {asked.id, again.id}
    assert found.items() >= kept.items()
    assert (await carry_out(again.id)).result is None, "a sweep that swept nothing says nothing"


async def test_a_table_that_cannot_be_swept_keeps_no_other_from_it(
    kept: dict[str, set[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(db: AsyncSession) -> int:
        await db.exec(delete(MailToken))
        raise LookupError

    monkeypatch.setitem(maintenance.STEPS, "user_sessions", fail)
    async with new_session() as db:
        asked = await tasks.enqueue(db, TaskType.sweep)
        await db.commit()
    with capture_logs() as logs:
        swept = await carry_out(asked.id)
    assert (swept.status, swept.error_code, swept.error_detail) == (
        TaskStatus.failed, "sweep_incomplete", "Not swept: user_sessions",
    )  # fmt: skip
    assert [line["table"] for line in logs if line["event"] == "sweep_failed"] == ["user_sessions"]
    found = await left()
    assert found["mail_tokens"] == kept["mail_tokens"], "what the failed step did is rolled back"
    assert found["changes"] == kept["changes"], "and the tables after it were swept"


async def test_much_goes_in_portions(clean: None) -> None:
    number = purging.PORTION + 5
    async with new_session() as db:
        db.add_all(MailBudget(address=f"{n}", updated_at=ago(days=2)) for n in range(number))
        asked = await tasks.enqueue(db, TaskType.sweep)
        await db.commit()
    async with new_session() as db:
        assert (await sweep(db))["mail_budgets"] == purging.PORTION, "and the rest is left to another transaction"
    assert (await carry_out(asked.id)).result == {"mail_budgets": number}


async def test_sweeps_do_not_pile_up(clean: None) -> None:
    async with new_session() as db:
        ages = {"gone": ago(days=1, minutes=5), "young": ago(hours=23)}
        rows = {name: await make_task(db, task_type=TaskType.sweep, completed_at=ended) for name, ended in ages.items()}
        other = await make_task(db, completed_at=ago(days=1, minutes=5))
        assert (await sweep(db))["sweeps"] == 1
        await db.commit()
    assert (await left())["background_tasks"] == {rows["young"].id, other.id}


@pytest.fixture(autouse=True)
async def _no_silent_process_stays() -> AsyncIterator[None]:
    """`clean` leaves the heartbeats alone, of which some belong to living processes."""
    yield
    async with new_session() as db:
        await db.exec(delete(Heartbeat).where(col(Heartbeat.role) == "swept"))
        await db.commit()
