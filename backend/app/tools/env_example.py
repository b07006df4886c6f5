"""`python -m app.tools.env_example`: writes `.env.example` from the settings. A test says when it is out of date."""

from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from app.core.config import ROOT, Settings

FILE = ROOT / ".env.example"
HEAD = """\
# Every setting of the service, each with its default. Copy this file to `.env` and change what you need; the
# environment goes before it. Made by `python -m app.tools.env_example` from backend/app/core/config.py.
# In containers a file /run/secrets/<name in lower case> stands in for a variable.
"""
HOW_TO_MAKE_ONE = "openssl rand -base64 48"


def render() -> str:
    """The file's text."""
    return HEAD + "".join(_entry(name.upper(), field) for name, field in Settings.model_fields.items())


def _entry(variable: str, field: FieldInfo) -> str:
    if variable == "SECRET_KEY":
        return (
            f"\n# {field.description}; `{HOW_TO_MAKE_ONE}` makes one\n"
            "# (needed in production; in development the first start makes one into DATA_DIR)\nSECRET_KEY=\n"
        )
    return f"\n# {field.description}\n# {variable}={_text(field.default)}\n"


def _text(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(default)
    if isinstance(default, Path):
        return str(default.relative_to(ROOT))
    return str(default)


if __name__ == "__main__":
    FILE.write_text(render())
