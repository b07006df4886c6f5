"""Starts the stack of a run (see `services.py`), prepares its processes, searches the logs for secrets at the end."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests import environment
from tests.binaries import NoService
from tests.databases import copy_template, make_template
from tests.fixtures import (
    account,
    app,
    clean,
    client,
    clock,
    db,
    inbox,
    login,
    new_client,
    same_cost,
    server,
    services,
    smtp,
    worker,
)
from tests.leaks import Leak, search
from tests.services import Running, Services

__all__ = [
    "account", "app", "clean", "client", "clock", "db", "inbox", "login", "new_client", "same_cost", "server",
    "services", "smtp", "worker",
]  # fmt: skip

MEASURES = "COVERAGE_PROCESS_CONFIG"  # what tells a process to measure its coverage
RUNNING = pytest.StashKey[Running]()
SERVICES = pytest.StashKey[Services]()
LEAKS = pytest.StashKey[list[Leak]]()


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a run in the background ignores it, and would hand that on
        signal.signal(signal.SIGINT, signal.default_int_handler)
    worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker_input is None:
        try:
            config.stash[RUNNING] = Running(environment.choose_stack())
        except NoService as error:
            raise pytest.UsageError(str(error)) from None
        config.stash[SERVICES] = config.stash[RUNNING].services
    else:
        config.stash[SERVICES] = Services.from_json(worker_input["services"])
    name = worker_input["workerid"] if worker_input else "main"
    environment.prepare(config.stash[SERVICES], name)
    if worker_input is None:
        from app.tools.migrate import upgrade

        make_template(config.stash[SERVICES], upgrade)
    copy_template(config.stash[SERVICES], name)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the xdist controller: tell a worker where the servers are."""
    node.workerinput["services"] = node.config.stash[SERVICES].to_json()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about the other engine: the run on that stack has it.

    Tests that ask for the worker come last: from the first of them on it runs beside everything else in that process,
    and its relay would take the rows of tests that play the relay themselves.
    """
    stack = config.stash[SERVICES].stack
    elsewhere = [item for item in items if any(mark.kwargs["name"] != stack for mark in item.iter_markers("stack"))]
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in elsewhere]
    for item in items:
        if item.path.parent.name == "faults":  # what dies there is not asked how far it came
            item.add_marker(pytest.mark.no_cover)
    items.sort(key=lambda item: "worker" in getattr(item, "fixturenames", ()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    """What is not asked for coverage is not slowed by it, by three quarters, in its processes either."""
    told = os.environ.pop(MEASURES, None) if item.get_closest_marker("no_cover") else None
    result = yield
    if told is not None:
        os.environ[MEASURES] = told
    return result


def pytest_report_header(config: pytest.Config) -> str:
    services = config.stash[SERVICES]
    return f"stack: {services.stack}, {'PostgreSQL' if services.postgres_url else 'SQLite'}, in {services.folder}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Keep what the application wrote during a test: what reached the outputs, whatever a test did to the logging."""
    report = yield
    # A lone surrogate in a log line cannot travel from an xdist worker to the run.
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    written = [text for title, text in report.sections if title.startswith(("Captured stdout", "Captured stderr"))]
    if written and report.when == "teardown":  # which has the sections of the phases before it too
        services = item.config.stash[SERVICES]
        worker_input = getattr(item.config, "workerinput", {"workerid": "main"})
        with services.log(f"pytest-{worker_input['workerid']}").open("a") as log:
            log.write(f"--- {item.nodeid.partition('[')[0]}\n")
            log.writelines(f"{text}\n" for text in written)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """The run fails when a log line of any of its processes tells a secret."""
    if RUNNING not in session.config.stash:
        return
    folder = Path(session.config.stash[SERVICES].folder)
    secrets = [line for file in folder.glob("secrets-*") for line in file.read_text().splitlines()]
    leaks = session.config.stash[LEAKS] = search(folder / "logs", secrets)
    if leaks:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    leaks = config.stash.get(LEAKS, [])
    if leaks:
        terminalreporter.section("log lines that tell a secret", red=True)
        for leak in leaks[:50]:
            terminalreporter.line(str(leak))
        kept = Path(config.rootpath) / ".pytest_cache" / "leaks"
        kept.mkdir(parents=True, exist_ok=True)
        for name in {leak.file for leak in leaks}:
            (kept / name).write_bytes((Path(config.stash[SERVICES].folder) / "logs" / name).read_bytes())
        terminalreporter.line(f"{len(leaks)} lines; the logs are kept in {kept}")


def pytest_unconfigure(config: pytest.Config) -> None:
    if RUNNING in config.stash:
        config.stash[RUNNING].end()
