"""The judge of the fault tests: it finds what does not agree, and nothing where all is well."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from httpx2 import ConnectError, ReadError, Response

from app.core.sql import new_id
from app.models import BackgroundTask, TaskStatus, TaskType
from tests.faults.recorder import Final, Recorder, faults
from tests.faults.stack import NeverSent

ADA = "ada"


def promise(**values: object) -> BackgroundTask:
    return BackgroundTask(id=new_id(), task_type=TaskType.verify_email, **{"status": TaskStatus.succeeded, **values})


def kept() -> Final:
    """An account, its promise, and its mail."""
    made, final = promise(), Final()
    final.users[ADA] = 1
    final.promises[ADA] = [made]
    final.mails[ADA] = [str(made.id)]
    return final


async def recorded(file: Path, *outcomes: int | Exception) -> Recorder:
    recorder = Recorder(file)
    for outcome in outcomes:

        async def call(outcome: int | Exception = outcome) -> Response:
            if isinstance(outcome, Exception):
                raise outcome
            return Response(outcome)

        try:
            await recorder.run(ADA, call)
        except NeverSent:
            continue
    return recorder


def judged(recorder: Recorder, final: Final, mails: int | None = 1) -> list[str]:
    return faults(recorder, final, mails=mails, alone=True)


@pytest.mark.parametrize("outcomes", [(201,), (503, 201), (ReadError("cut"),), (503,), (503, 409)])
async def test_what_was_asked_and_is_kept_is_no_fault(tmp_path: Path, outcomes: tuple[int | Exception, ...]) -> None:
    assert judged(await recorded(tmp_path / "log", *outcomes), kept()) == []


@pytest.mark.parametrize("outcome", [422, 503, ReadError("cut"), ConnectError("refused")])
async def test_what_was_not_promised_may_be_missing(tmp_path: Path, outcome: int | Exception) -> None:
    assert judged(await recorded(tmp_path / "log", outcome), Final()) == []


def forget(final: Final) -> None:
    final.users.clear()
    final.promises.clear()
    final.mails.clear()


def double(final: Final) -> None:
    final.promises[ADA].append(promise())
    final.users[ADA] += 1
    final.mails[ADA].append(str(final.promises[ADA][-1].id))


WRONG: list[tuple[str, Callable[[Final], None]]] = [
    ("stored 0 times", forget),
    ("stored 2 times", double),
    ("with 0 promises", lambda final: final.promises.clear()),
    ("with 2 promises", lambda final: final.promises[ADA].append(promise())),
    ("its task is failed", lambda final: setattr(final.promises[ADA][0], "status", TaskStatus.failed)),
    ("0 mails arrived", lambda final: final.mails.clear()),
    ("2 mails arrived", lambda final: final.mails[ADA].append("another")),
    ("its mail arrived 2 times", lambda final: final.mails[ADA].append(final.mails[ADA][0])),
    ("nobody asked", lambda final: final.users.update(["eve"])),
    ("of nobody", lambda final: final.promises["nobody"].append(promise())),
]


@pytest.mark.parametrize(("said", "break_it"), WRONG, ids=[said for said, _ in WRONG])
async def test_what_was_answered_and_is_not_so_is_a_fault(
    tmp_path: Path, said: str, break_it: Callable[[Final], None]
) -> None:
    recorder, final = await recorded(tmp_path / "log", 201), kept()
    break_it(final)
    assert any(said in fault for fault in judged(recorder, final))


async def test_what_was_refused_and_is_stored_is_a_fault(tmp_path: Path) -> None:
    assert any("stored 1 times" in fault for fault in judged(await recorded(tmp_path / "log", 422), kept()))


async def test_each_operation_is_noted_before_it_is_sent_and_after(tmp_path: Path) -> None:
    lines: list[list[str]] = []
    recorder = Recorder(tmp_path / "log")

    async def call() -> Response:
        lines.append((tmp_path / "log").read_text().splitlines())
        return Response(201)

    await recorder.run(ADA, call)
    lines.append((tmp_path / "log").read_text().splitlines())
    assert [[json.loads(line)["outcome"] for line in some] for some in lines] == [["unknown"], ["unknown", 201]]
