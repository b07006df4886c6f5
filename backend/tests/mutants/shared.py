"""What the runs share, since no lie is in it: a PostgreSQL, and a migrated database for each stack."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Self

from tests import environment
from tests.databases import MIGRATED, make_template, place
from tests.services import Running, Services

STACKS = ("embedded", "server")


class Shared:
    """Each run has databases of its own on the one server, as on a server that is given to the tests."""

    def __init__(self) -> None:
        self._running = Running("server")
        server = self._running.services
        self._of_stack = {"embedded": replace(server, stack="embedded", postgres_url=""), "server": server}

    def __enter__(self) -> Self:
        try:
            for stack in STACKS:
                _migrate(self._of_stack[stack])
        except BaseException:
            self._running.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._running.end()

    def environment(self, stack: str, *, migrated: bool) -> Mapping[str, str]:
        """What tells a run where these are; without the database when it is to migrate one itself."""
        services = self._of_stack[stack]
        given = {"TEST_DATABASE_URL": services.postgres_url} if services.postgres_url else {}
        return {**given, MIGRATED: place(services, "template")} if migrated else given


def _migrate(services: Services) -> None:
    """In a fork: this process never imports the application, which each of its forks has with a lie of its own."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            environment.prepare(services, services.stack)
            from app.tools.migrate import upgrade

            make_template(services, upgrade)
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError(f"the database of the {services.stack} stack could not be migrated")
