"""One child process that is kept running: started again when it dies, asked before it is killed, gone when we are."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.core.process import die_with_parent
from app.dev.state import State

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds before a child that died starts again; doubled each time
STEADY = 10.0  # seconds of life after which a death counts as the first again
COLOURS = {"valkey": 31, "api": 36, "worker": 33, "scheduler": 35, "migrate": 32}


def say(text: str) -> None:
    """One line of the supervisor's own."""
    print(text, flush=True)


class Child:
    """A command. `keep` keeps it alive until `stop`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        state: State,
        env: Mapping[str, str],
        cwd: Path,
        fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self._command, self._state, self._env, self._cwd, self._fds = command, state, env, cwd, fds
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = self._renewing = False
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()

    async def keep(self) -> None:
        """Run it, and run it again whenever it ends, until `stop`."""
        pause = FIRST_PAUSE
        try:
            while not self._stopping:
                self._wake.clear()
                began = time.monotonic()
                code = await self.run()
                if self._stopping or self._renewing:
                    self._renewing, pause = False, FIRST_PAUSE
                    continue
                pause = FIRST_PAUSE if time.monotonic() - began > STEADY else pause
                say(f"{self.name} ended ({_reason(code)}); it starts again in {pause:g} s")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            self._ended.set()

    async def run(self) -> int:
        """Run it once, to its end and that of all that it started."""
        prefixed = sys.stdout.isatty()
        parent = os.getpid()
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._env,
            cwd=self._cwd,
            pass_fds=self._fds,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if prefixed else None,
            stderr=asyncio.subprocess.STDOUT if prefixed else None,
            process_group=0,  # Ctrl-C reaches the supervisor alone, which then ends them in order
            preexec_fn=lambda: die_with_parent(parent),
        )
        copying = [asyncio.create_task(self._copy_lines())] if prefixed else []
        try:
            self._state.remember(self.name, self._process.pid)
            if self._stopping:  # said while it was being started
                self._signal(signal.SIGKILL)
            return await self._process.wait()
        finally:
            self._signal(signal.SIGKILL)  # what it started itself and left behind, which also closes its output
            self._state.forget(self.name)
            if copying:
                await asyncio.wait(copying, timeout=1)

    async def renew(self, within: float) -> None:
        """End it so that `keep` starts it anew at once."""
        self._wake.set()
        if self._process is not None and self._process.returncode is None:
            self._renewing = True
            await self._end(self._process, within)

    async def stop(self, within: float) -> None:
        """Ask what `keep` runs to end, and kill it after so many seconds."""
        self._stopping = True
        self._wake.set()
        if self._process is not None and self._process.returncode is None:
            await self._end(self._process, within)
        await self._ended.wait()

    async def _end(self, process: asyncio.subprocess.Process, within: float) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), within)
        except TimeoutError:
            say(f"{self.name} did not end within {within:g} s and is killed")
            self._signal(signal.SIGKILL)
            await process.wait()

    def _signal(self, signum: int) -> None:
        """To the child and all that it started: each child leads a process group."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signum)

    async def _copy_lines(self) -> None:
        """Its output, line by line, with its name before each."""
        assert self._process is not None
        assert self._process.stdout is not None
        prefix = f"\x1b[{COLOURS.get(self.name, 37)}m{self.name:<9}\x1b[0m │ ".encode()
        rest = b""
        while piece := await self._process.stdout.read(65_536):
            *lines, rest = (rest + piece).split(b"\n")
            sys.stdout.buffer.write(b"".join(prefix + line + b"\n" for line in lines))
            sys.stdout.buffer.flush()
        if rest:
            sys.stdout.buffer.write(prefix + rest + b"\n")
            sys.stdout.buffer.flush()


def _reason(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
