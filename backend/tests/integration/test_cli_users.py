"""`neoforge users …` on a database of its own."""

import asyncio
import json
from subprocess import CompletedProcess

import pytest

from tests.audits import Audit, own
from tests.commands import neoforge

__all__ = ["own"]

pytestmark = pytest.mark.any_server
PASSWORD = "plum-otter-42-lantern"


class Users:
    def __init__(self, audit: Audit) -> None:
        self.audit = audit

    async def __call__(self, *arguments: str, code: int = 0) -> CompletedProcess[str]:
        given = {"stdin": f"{PASSWORD}\n", "DATABASE_URL": self.audit.url}
        done = await asyncio.to_thread(neoforge, "users", *arguments, **given)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    async def made(self, email: str) -> str:
        """An admin of this address; the id."""
        return (await self("create-admin", "--email", email)).stdout.split("(")[1].split(")")[0]

    async def listed(self, *options: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in (await self("list", "--json", *options)).stdout.splitlines()]

    async def actions(self) -> list[str]:
        rows = await self.audit.execute("SELECT action FROM audit_events WHERE actor_id IS NULL ORDER BY id")
        return [str(action) for (action,) in rows]


@pytest.fixture
def users(own: Audit) -> Users:
    return Users(own)


def told(failed: CompletedProcess[str]) -> str:
    """The one line that says what went wrong; what is above it is the log."""
    *_, last = failed.stderr.splitlines()
    assert last.startswith("neoforge: ")
    assert "Traceback" not in failed.stderr
    return last


async def test_accounts_are_looked_after_from_the_command_line(users: Users) -> None:
    first, second = await users.made("first@example.com"), await users.made("second@example.com")
    assert second in (await users("disable", "Second@Example.com")).stdout
    assert [one["email"] for one in await users.listed("--disabled")] == ["second@example.com"]
    assert second in (await users("enable", second)).stdout
    assert second in (await users("demote", second)).stdout
    assert first in (await users("promote", "first@example.com", "--role", "support")).stdout
    both = await users.listed()
    assert [(one["email"], one["roles"]) for one in both] == [
        ("second@example.com", []),
        ("first@example.com", ["support", "admin"]),
    ]
    assert {one["id"] for one in await users.listed("--role", "admin", "--active")} == {first}
    assert {one["id"] for one in await users.listed("--query", "SECOND")} == {second}
    line = (await users("list", "--query", "second@example.com")).stdout
    assert line.split() == [second, "active,", "verified", "-", "second@example.com"]
    assert await users.actions() == [
        *("admin_created", "admin_created"),
        *("user_disabled", "user_enabled", "admin_revoked", "support_granted"),
    ]


async def test_the_last_admin_is_spared_here_too(users: Users) -> None:
    await users.made("only@example.com")
    for words in (["disable"], ["demote"], ["demote", "--role", "admin"]):
        assert "last admin" in told(await users(*words, "only@example.com", code=1))
    await users("demote", "only@example.com", "--role", "support")
    assert (await users.listed())[0]["roles"] == ["admin"]


async def test_what_is_not_there_and_what_is_not_meant_is_told(users: Users) -> None:
    for account in ("nobody@example.com", "019a0000-0000-7000-8000-000000000000", "nobody"):
        for command in ("disable", "enable", "promote", "demote"):
            assert "no account" in told(await users(command, account, code=1))
    for words in (["disable"], ["promote", "a@example.com", "--role", "root"], ["list", "--role", "root"], ["nothing"]):
        refused = await users(*words, code=2)
        assert "--help" in told(refused)
        assert refused.stderr.count("\n") == 1
