"""The root secret: made once, by whichever process is first, and read by its owner alone."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from app.core import secrets
from app.core.permissions import Permission, Role, granted


def test_of_two_first_starts_at_once_one_makes_the_secret_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_saw_none = Barrier(2, timeout=30)
    make = secrets.secrets.token_urlsafe

    def meet(size: int) -> Any:
        both_saw_none.wait()
        return make(size)

    monkeypatch.setattr(secrets.secrets, "token_urlsafe", meet)
    file = tmp_path / "data" / "secret_key"
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(secrets._kept, [file, file])
    assert first == second == file.read_text()
    assert len(first) >= 48
    assert [path.name for path in file.parent.iterdir()] == ["secret_key"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert secrets._kept(file) == first


@pytest.mark.parametrize(
    ("roles", "permissions"),
    [
        ([], set()),
        (["user"], set()),
        (["support"], {Permission.users_read, Permission.tasks_read, Permission.audit_read}),
        (["user", "admin"], set(Permission)),
        (["owner", "ADMIN", ""], set()),
    ],
)
def test_roles_grant_what_the_table_says_and_an_unknown_one_nothing(
    roles: list[str], permissions: set[Permission]
) -> None:
    assert granted(roles) == permissions


def test_every_role_stands_in_the_table() -> None:
    assert {role.value: granted([role]) for role in Role}.keys() == set(Role)
