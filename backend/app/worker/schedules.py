"""`@periodic`: a task that is promised at the times of a cron expression, declared beside its function.

Schedulers share what is due in `task_schedules`. Moving a schedule on to its next due time is a compare-and-swap, in
one transaction with the promise of its task: of many schedulers one makes it, and one that dies half-way has done
neither. The row needs no `dedupe_key`: while a task is late, that of the next due time waits behind it.
What is due is said by the database's clock alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from zoneinfo import ZoneInfo

import structlog
from cronsim import CronSim, CronSimError

from app.core.db import new_session
from app.crud import task_schedule as rows
from app.models.background_task import TaskType
from app.models.task_schedule import TaskSchedule
from app.services import tasks
from app.worker.tracking import TrackedTask

LATE = timedelta(seconds=60)  # how long after its due time a task that may be skipped is still promised
FORGOTTEN = timedelta(days=1)  # how long a schedule stays that this release does not declare: another one may
FIELDS = 5
MOST = 200  # characters, as many as the table takes
log = structlog.get_logger()


class Missed(StrEnum):
    """What becomes of due times at which no scheduler ran."""

    once = "once"
    """On return the task is promised once, however many they were."""
    skip = "skip"
    """It is promised only for one that is not older than 60 s."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a task is due, by the wall clock of a time zone.

    Where clocks are set forward or back, as Debian's cron has it. An expression whose minute and hour both begin with
    something else than `*` names fixed times: one that does not exist that day is due at the first minute that does,
    one that comes twice is due the first time. Any other expression follows the clock: it is due in both of the hours
    that come twice, and not in the one that does not exist.
    """

    task_type: TaskType
    expression: str
    zone: str
    missed: Missed

    @property
    def declared(self) -> str:
        """What due times are computed from: another one computes them anew."""
        return f"{self.expression} {self.zone}"

    def next_after(self, moment: datetime) -> datetime:
        """The first due time after `moment`, in UTC.

        Raises:
            ValueError: it is never due.
        """
        for found in CronSim(self.expression, moment.astimezone(_zone(self.zone))):
            if (due := found.astimezone(UTC)) > moment:  # in an hour that comes twice the first of them may be over
                return due
        raise ValueError(f"{self.expression!r} is never due")

    def is_late(self, due_at: datetime, now: datetime) -> bool:
        """Whether neither `due_at` nor a later due time has come within the last 60 s."""
        return now - due_at > LATE and self.next_after(now - LATE) > now


SCHEDULES: dict[str, Schedule] = {}
"""By name: the type of the task."""


def periodic(
    expression: str, *, zone: str = "UTC", missed: Missed = Missed.once
) -> Callable[[TrackedTask], TrackedTask]:
    """Have a task, declared by `@task` below, promised at the times of a cron expression of five fields.

    `zone` is a name of the IANA database, whose wall clock is meant. `missed` says what becomes of due times at which
    no scheduler ran. The first due time is the next one from when a scheduler first sees the declaration.

    Raises:
        ValueError: the expression or the zone is none, it is never due, or the task needs arguments.
    """
    fields = expression.split()
    if len(fields) != FIELDS:
        raise ValueError(f"{expression!r} is no cron expression: five fields, minute hour day month weekday")

    def register(tracked: TrackedTask) -> TrackedTask:
        name = tracked.function.__qualname__
        if needed := [key for key, field in tracked.arguments.model_fields.items() if field.is_required()]:
            raise ValueError(f"{name} is periodic, and nobody gives it {', '.join(needed)}")
        schedule = Schedule(tracked.task_type, " ".join(fields), zone, missed)
        try:
            schedule.next_after(datetime(2000, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise ValueError(f"{name}: {expression!r} is no cron expression: {error}") from None
        if len(schedule.declared) > MOST:
            raise ValueError(f"{name}: expression and zone together have at most {MOST} characters")
        if tracked.task_type in SCHEDULES:
            raise ValueError(f"{name} has a schedule already")
        SCHEDULES[tracked.task_type] = schedule
        return tracked

    return register


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC  # also where the machine has no time zone database
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone that this machine knows: one like Europe/Berlin") from None


async def promise_due() -> int:
    """Promise what is due, and look after the table: how many tasks were promised here."""
    async with new_session(read_only=True) as db:
        now, known = await rows.now(db), await rows.known(db)
    promised = 0
    for name, schedule in SCHEDULES.items():
        seen = known.pop(name, None)
        if seen is None or seen.due_at <= now or seen.declared != schedule.declared:
            try:
                promised += await _move_on(name, schedule, seen, now)
            except Exception:  # one schedule keeps neither the others nor the relay from their work
                log.warning("schedule_failed", schedule=name, exc_info=True)
    if any(now - left.due_at > FORGOTTEN for left in known.values()):
        async with new_session() as db:
            await rows.forget(db, known, overdue=FORGOTTEN)
            await db.commit()
    return promised


async def _move_on(name: str, schedule: Schedule, seen: TaskSchedule | None, now: datetime) -> bool:
    """Go to the next due time. A due time that has come is not lost with a new declaration."""
    following = schedule.next_after(now)
    promised = False
    async with new_session() as db:
        if seen is None:
            await rows.add(db, name, schedule.declared, following)
        elif await rows.move_on(db, seen, schedule.declared, following) and seen.due_at <= now:
            if schedule.missed is Missed.skip and schedule.is_late(seen.due_at, now):
                log.info("schedule_skipped", schedule=name, due_at=seen.due_at.isoformat())
            else:
                await tasks.enqueue(db, schedule.task_type)
                promised = True
        await db.commit()
    if promised:
        log.info("schedule_kept", schedule=name, due_at=seen.due_at.isoformat() if seen else None)
    return promised
