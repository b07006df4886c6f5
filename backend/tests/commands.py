"""`neoforge …` in a process of its own: a fork of one that has imported the libraries, and nothing of ours.

Not for the API, workers and schedulers, which say to some libraries what to do before they import them.
"""

import atexit
import json
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from subprocess import PIPE, CompletedProcess, Popen
from threading import Lock

from tests.services import BACKEND

WITHIN = 60  # s; a command that takes longer is ended by SIGALRM
FORKS = f"""
import json, os, signal, sys
from tests.libraries import import_libraries

import_libraries()
for line in sys.stdin:
    folder, files, arguments, environment = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.alarm({WITHIN})
        for number, file in enumerate(files):
            os.dup2(os.open(file, os.O_RDWR), number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        if "COVERAGE_PROCESS_CONFIG" in environment:  # as when a process starts
            import coverage
            coverage.process_startup()
        sys.stdin, sys.argv = open(0), ["neoforge", *arguments]
        from app.cli import main
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
_one_at_a_time = Lock()


def neoforge(*arguments: str, stdin: str = "", cwd: Path = BACKEND, **env: str) -> CompletedProcess[str]:
    """Run a command with this process's environment and `env` over it, one at a time, and wait for its end.

    `cwd` is the folder whose `app` it is.
    """
    with _one_at_a_time, tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("input", "output", "errors")]
        for file, text in zip(files, (stdin, "", ""), strict=True):
            file.write_text(text)
        forks = _forks()
        assert forks.stdin is not None
        assert forks.stdout is not None
        forks.stdin.write(
            json.dumps([str(cwd), [str(file) for file in files], arguments, {**os.environ, **env}]) + "\n"
        )
        forks.stdin.flush()
        code = int(forks.stdout.readline())
        _, output, errors = (file.read_text() for file in files)
        return CompletedProcess(arguments, code, output, errors)


@cache
def _forks() -> Popen[str]:
    """The process that is forked, one for all tests of this process."""
    env = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}
    forks = Popen([sys.executable, "-c", FORKS], env=env, cwd=BACKEND, stdin=PIPE, stdout=PIPE, text=True)
    atexit.register(forks.__exit__, None, None, None)  # it ends with its input
    return forks
