"""Small work beside a request: a fault is logged, too much of it is dropped, and the end waits for what still runs."""

import asyncio

import pytest
from structlog.testing import capture_logs

from app.core import background


async def test_a_fault_is_logged_and_goes_no_further() -> None:
    async def fail() -> None:
        raise ValueError("nobody waits for this")

    with capture_logs() as logs:
        background.start(fail())
        await background.finish()
    assert [line["event"] for line in logs] == ["background_failed"]


async def test_the_end_waits_for_what_runs_and_not_for_ever() -> None:
    done, never = asyncio.Event(), asyncio.Event()

    async def soon() -> None:
        done.set()

    background.start(soon())
    background.start(never.wait())
    await background.finish(0.1)
    assert done.is_set()
    never.set()
    await background.finish()


async def test_past_the_limit_work_is_dropped_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "MAX_RUNNING", 1)
    hold, ran = asyncio.Event(), []

    async def note() -> None:
        ran.append(True)

    with capture_logs() as logs:
        background.start(hold.wait())
        background.start(note())
        hold.set()
        await background.finish()
    assert not ran
    assert [line["event"] for line in logs] == ["background_dropped"]
    background.start(note())
    await background.finish()
    assert ran
