"""A copy of the project that a test may add models and migrations to, worked on by its own command."""

import shutil
import subprocess
from pathlib import Path

from tests.commands import neoforge
from tests.services import BACKEND

PARTS = ("app", "alembic", "alembic.ini", "pyproject.toml")


class Checkout:
    def __init__(self, folder: Path, database_url: str, source: Path = BACKEND) -> None:
        self.backend, self.url = folder / "backend", database_url
        self.backend.mkdir(parents=True)
        for name in PARTS:
            whole = source / name
            if whole.is_dir():
                shutil.copytree(whole, self.backend / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(whole, self.backend / name)

    def neoforge(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return neoforge(*arguments, cwd=self.backend, DATABASE_URL=self.url, **env)

    def run(self, *command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=self.backend, env=env, capture_output=True, text=True, timeout=120)

    def model(self, name: str, text: str) -> None:
        """Write a file of models, as a person would who adds one."""
        models = self.backend / "app" / "models"
        (models / f"{name}.py").write_text(text)
        for compiled in (models / "__pycache__").glob(f"{name}.*"):  # one of the same second and size is taken for it
            compiled.unlink()

    def migration(self, number: int, upgrade: str, said: str = "a migration") -> Path:
        """Write the next migration by hand."""
        body = "\n".join(f"    {line}" for line in upgrade.splitlines())
        file = self.versions / f"20261128_{number:04}_by_hand.py"
        file.write_text(
            f'"""{said}"""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
            "from app.tools import online\n\n"
            f'revision = "{number:04}"\ndown_revision = "{number - 1:04}"\nbranch_labels = depends_on = None\n\n\n'
            f"def upgrade() -> None:\n{body}\n\n\ndef downgrade() -> None:\n    pass\n"
        )
        return file

    @property
    def versions(self) -> Path:
        return self.backend / "alembic" / "versions"

    def migrations(self) -> set[str]:
        return {file.name for file in self.versions.glob("*.py")}
