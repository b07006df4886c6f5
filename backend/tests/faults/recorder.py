"""What was asked and what came back, noted before and after; and whether the final rows and the mails agree with it."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from httpx2 import Response
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db import build_engine
from app.models import BackgroundTask, TaskStatus, TaskType, User
from tests.faults.stack import NeverSent, Stack, attempt
from tests.inbox import Inbox
from tests.waiting import eventually

NEVER_SENT = "never sent"
UNKNOWN = "unknown"


@dataclass
class Operation:
    """A registration that was tried."""

    number: int
    email: str
    sent_at: float
    """Seconds since the recording began, as the other."""
    outcome: int | str = UNKNOWN
    ended_at: float | None = None


class Recorder:
    """Notes in memory, and in a file of JSON lines that is complete at every moment: one line as each operation begins,
    another one when it ends."""

    def __init__(self, file: Path) -> None:
        self.operations: list[Operation] = []
        self._file, self._began = file, time.monotonic()

    async def run(self, email: str, call: Callable[[], Awaitable[Response]]) -> Response | None:
        """Send; the answer, or None when nobody can know what became of it.

        Raises:
            NeverSent: nobody has heard of it.
        """
        operation = Operation(len(self.operations), email, self._now())
        self.operations.append(operation)
        self._write(operation)
        try:
            answer = await attempt(call)
        except NeverSent:
            operation.outcome = NEVER_SENT
            raise
        else:
            operation.outcome = answer.status_code if answer is not None else UNKNOWN
            return answer
        finally:
            operation.ended_at = self._now()
            self._write(operation)

    async def answered(self, more: int) -> None:
        """Wait until so many more operations have been answered with 2xx."""
        wanted = self._done() + more
        await eventually(lambda: self._done() >= wanted, within=120)

    def tried(self) -> dict[str, set[int | str]]:
        """Every outcome of each email's operations, but of those that nobody has heard of."""
        found: dict[str, set[int | str]] = defaultdict(set)
        for operation in self.operations:
            if operation.outcome != NEVER_SENT:
                found[operation.email].add(operation.outcome)
        return found

    def outcomes(self) -> dict[int | str, int]:
        return dict(Counter(operation.outcome for operation in self.operations))

    def _done(self) -> int:
        return sum(is_success(operation.outcome) for operation in self.operations)

    def _now(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def _write(self, operation: Operation) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(operation)) + "\n")


def is_success(outcome: int | str) -> bool:
    return isinstance(outcome, int) and 200 <= outcome < 300


def is_unknown(outcome: int | str) -> bool:
    """No answer, or one that says that the server does not know either: its COMMIT may have gone through."""
    return outcome == UNKNOWN or (isinstance(outcome, int) and outcome >= 500)


@asynccontextmanager
async def session(database: str, *, read_only: bool = True) -> AsyncIterator[AsyncSession]:
    """A session on a database that is not this process's own."""
    engine = build_engine(database, pool_size=1)
    try:
        async with AsyncSession(engine.execution_options(read_only=read_only)) as db:
            yield db
    finally:
        await engine.dispose()


# --- the final state ------------------------------------------------------------------------------------------------


@dataclass
class Final:
    """What stands in the database and what was delivered, by email address."""

    users: Counter[str] = field(default_factory=Counter)
    promises: dict[str, list[BackgroundTask]] = field(default_factory=lambda: defaultdict(list))
    mails: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """The promises' ids that the mails carried, each time that one arrived."""

    @classmethod
    async def read(cls, database: str, inbox: Inbox) -> "Final":
        found = cls()
        for mail in inbox.received():
            for address in mail.to:
                found.mails[address].append(mail.message_id.partition("@")[0])
        users, tasks = await _rows(database)
        names = {user.id: user.email for user in users}
        found.users.update(names.values())
        for task in tasks:
            found.promises[names.get(task.user_id, "nobody")].append(task)  # type: ignore[arg-type] # None is nobody's
        return found


async def _rows(database: str) -> tuple[Sequence[User], Sequence[BackgroundTask]]:
    mails = select(BackgroundTask).where(col(BackgroundTask.task_type) == TaskType.verify_email)
    async with session(database) as db:
        return (await db.exec(select(User))).all(), (await db.exec(mails)).all()


def faults(recorder: Recorder, final: Final, *, mails: int | None, alone: bool) -> list[str]:
    """Each thing that does not agree, in words. `mails`: how often a mail may arrive; None: as often as it likes.

    `alone`: nothing else was done to the database.
    """
    tried, found = recorder.tried(), []
    if alone:
        found += [f"{email} is stored, and nobody asked" for email in final.users if email not in tried]
        found += [f"task {task.id} is of nobody" for task in final.promises.get("nobody", [])]
    for email, outcomes in tried.items():
        found += [f"{email}: {fault}" for fault in _faults_of(email, outcomes, final, mails)]
    return found


def _faults_of(email: str, outcomes: set[int | str], final: Final, mails: int | None) -> list[str]:
    users, promises, arrived = final.users[email], final.promises.get(email, []), final.mails.get(email, [])
    may_be_stored = any(is_success(one) or is_unknown(one) for one in outcomes)
    must_be_stored = any(map(is_success, outcomes))
    found = [f"answered {outcomes}, and stored {users} times"] if not must_be_stored <= users <= may_be_stored else []
    if len(promises) != users:
        found.append(f"stored {users} times with {len(promises)} promises")
    found += [
        f"its task is {task.status} after {task.attempts} attempts ({task.error_code})"
        for task in promises
        if task.status != TaskStatus.succeeded
    ]
    if set(arrived) != {str(task.id) for task in promises}:
        found.append(f"{len(set(arrived))} mails arrived for {len(promises)} promises")
    if mails is not None and len(arrived) > mails * len(promises):
        found.append(f"its mail arrived {len(arrived)} times")
    return found


async def settled(
    recorder: Recorder, stack: Stack, inbox: Inbox, *, within: float = 60, mails: int | None = None, alone: bool = True
) -> str:
    """Wait until nothing disagrees; what happened, in one line. The processes have to manage that by themselves.

    Raises:
        AssertionError: something still does after so many seconds.
    """
    began = time.monotonic()
    final = Final()

    async def agrees() -> bool:
        nonlocal final
        final = await Final.read(stack.database, inbox)
        found = faults(recorder, final, mails=mails, alone=alone)
        assert not found, "\n".join([f"{len(found)} faults after {time.monotonic() - began:.0f} s", *found[:20]])
        return True

    try:
        await eventually(agrees, within=within)
        assert stack.ended() == {}, "somebody has to start them again"
    except AssertionError as error:
        error.add_note(stack.report())
        raise
    again = sum(len(arrived) - 1 for arrived in final.mails.values())
    return (
        f"outcomes={recorder.outcomes()} users={final.users.total()} mails that came again={again} "
        f"settled in {time.monotonic() - began:.1f} s"
    )
