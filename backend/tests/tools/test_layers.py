"""Each import contract stands, and breaks when its rule is broken."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import BACKEND

PLANTED = {
    "Imports run downwards; neighbours do not know each other": ("app/crud/user.py", "import app.services.accounts"),
    "Only the API speaks HTTP": ("app/services/accounts.py", "from fastapi import HTTPException"),
    "Celery stays in the worker": ("app/services/accounts.py", "import celery"),
    "Endpoints write no SQL": ("app/api/endpoints/auth.py", "from sqlmodel import select"),
    "Endpoints are independent": ("app/api/endpoints/auth.py", "from app.api.endpoints import users"),
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, env={"PATH": ""}, capture_output=True, text=True, timeout=60)


def broken(folder: Path) -> set[str]:
    return {line.partition(" BROKEN")[0] for line in lint(folder).stdout.splitlines() if " BROKEN" in line}


def test_the_layers_stand() -> None:
    result = lint(BACKEND)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("contract", PLANTED)
def test_a_broken_layer_is_found(tmp_path: Path, contract: str) -> None:
    shutil.copytree(BACKEND / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(BACKEND / "pyproject.toml", tmp_path)
    file, line = PLANTED[contract]
    (tmp_path / file).write_text(f"{line}\n{(tmp_path / file).read_text()}")
    assert contract in broken(tmp_path)


def test_a_layer_that_nobody_placed_is_found(tmp_path: Path) -> None:
    shutil.copytree(BACKEND / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(BACKEND / "pyproject.toml", tmp_path)
    (tmp_path / "app" / "helpers.py").write_text("")
    assert lint(tmp_path).returncode != 0
