"""`.env.example` says every setting, as the code has it, and no secret."""

import pytest

from app.core import config
from app.core.config import ROOT, Settings
from app.tools import env_example


def test_it_is_current() -> None:
    assert env_example.FILE.read_text() == env_example.render(), "run: python -m app.tools.env_example (from backend/)"


def test_every_setting_stands_in_it_once() -> None:
    lines = [line.removeprefix("# ") for line in env_example.render().splitlines()]
    names = [line.partition("=")[0] for line in lines if line.partition("=")[0].isupper()]
    assert names == [name.upper() for name in Settings.model_fields]


def test_a_copy_of_it_changes_nothing(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    monkeypatch.setattr(config, "SECRETS_FOLDER", tmp_path / "none")
    monkeypatch.setattr(config, "ROOT", tmp_path)
    without = Settings.load()
    (tmp_path / ".env").write_text(env_example.render())
    assert Settings.load() == without


def test_its_commented_defaults_are_the_defaults(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    monkeypatch.setattr(config, "SECRETS_FOLDER", tmp_path / "none")
    without = Settings.load()
    lines = [line.removeprefix("# ") for line in env_example.render().splitlines()]
    monkeypatch.setattr(config, "ROOT", tmp_path)
    (tmp_path / ".env").write_text("\n".join(line for line in lines if line.partition("=")[0].isupper()))
    monkeypatch.setenv("DATA_DIR", str(ROOT / ".data"))  # relative to the root, which this test has moved
    assert Settings.load() == without
