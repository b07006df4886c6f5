"""The parts of `make dev` by themselves: questions to what answers oddly, ports that are taken, code that changes."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.core.process import CannotRun
from app.dev import embedded, probe, reload, state
from app.dev.embedded import Valkey
from app.dev.state import State


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[probe.Address]:
    """A server that says this to everybody and closes."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()


@pytest.mark.parametrize(
    ("answer", "answers", "works"),
    [
        (b"", False, False),
        (b"no HTTP at all", False, False),
        (b"HTTP/1.1 200 OK\r\n\r\n[]", True, False),
        (b"HTTP/1.1 200 OK\r\n\r\nno JSON", True, False),
        (b'HTTP/1.1 503 No\r\n\r\n{"checks": {"worker": {"status": "degraded"}}}', False, False),
        (b'HTTP/1.1 503 No\r\n\r\n{"checks": {"worker": {"status": "healthy"}}}', False, True),
    ],
)
async def test_what_an_odd_api_answers_is_no_and_never_an_error(answer: bytes, answers: bool, works: bool) -> None:
    async with answering(answer) as address:
        assert await probe.healthy(address) is answers
        assert await probe.worker_alive(address) is works


async def test_nobody_there_is_no() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert not await probe.healthy(nobody.getsockname())


async def test_asking_ends_after_its_time() -> None:
    asked = []

    async def never() -> bool:
        asked.append(True)
        return False

    assert not await probe.until(never, 0.2)
    assert len(asked) > 1


def test_a_port_that_was_taken_meanwhile_is_changed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        (tmp_path / "port").write_text(str(taken))
        port = embedded._port(tmp_path / "port")
    assert port in embedded.PORTS
    assert (tmp_path / "port").read_text() == str(port)


def test_no_free_port_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "HOST", "192.0.2.1")  # no address of this machine: RFC 5737
    with pytest.raises(CannotRun, match=r"no free port on .* set REDIS_URL"):
        embedded._port(tmp_path / "port")


async def test_another_server_on_its_port_is_not_taken_for_valkey(tmp_path: Path) -> None:
    async with answering(b"+OK\r\n-NOAUTH\r\n") as (_, port):
        assert not await Valkey(tmp_path, tmp_path, port, "password", 0).answers()


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ignores SIGTERM."""
    code = "import signal, sys; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    process = subprocess.Popen([sys.executable, "-c", code], process_group=0, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"deaf\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_what_an_earlier_start_left_is_killed_when_it_does_not_end(
    tmp_path: Path, deaf: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "END_WITHIN", 0.2)
    kept = State(tmp_path / "data")
    kept.remember("worker", deaf.pid)
    kept.sweep()
    assert deaf.wait(10) == -signal.SIGKILL


async def test_what_changed_is_named_and_the_rest_counted(tmp_path: Path) -> None:
    stopping = asyncio.Event()

    async def watch() -> None:
        async for names in reload.changes(tmp_path, stopping):
            if names == "four.css, one.py, three.sql …":  # and not notes.md, which is no code
                stopping.set()

    watching = asyncio.create_task(watch())
    number = 0
    while not watching.done():  # the watch begins when it begins: what was written before is not seen
        for name in ("one.py", "two.j2", "notes.md", "three.sql", "four.css"):
            (tmp_path / name).write_text(str(number := number + 1))
        await asyncio.wait({watching}, timeout=3 * reload.SETTLED / 1000)
    await watching


async def test_a_folder_that_cannot_be_watched_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async for _ in reload.changes(tmp_path / "none", asyncio.Event()):
        raise AssertionError("nothing can have changed there")
    told = capsys.readouterr().out
    assert "code changes are not seen" in told
    assert "WATCHFILES_FORCE_POLLING" in told
