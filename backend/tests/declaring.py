"""Keys of the configuration that tests declare beside those of the service."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from app.core import declared, dynamic, kinds
from app.core.dynamic import Flag, Visibility


@pytest.fixture
def more_keys() -> Iterator[None]:
    """One key of each visibility and of each type, beside those of the service."""
    before = dict(dynamic.DECLARED)
    for visibility in Visibility:
        Flag(f"test_{visibility}_flag", "For a test.", visibility=visibility)
    public: Any = {"visibility": Visibility.public}
    kinds.integer("test_int", "For a test.", default=5, ge=1, le=10, **public)
    kinds.number("test_float", "For a test.", default=0.5, ge=0, le=1, **public)
    kinds.string("test_string", "For a test.", default="x", **public)
    kinds.duration(
        "test_span", "For a test.", default=timedelta(minutes=1), ge=timedelta(0), le=timedelta(days=1), **public
    )
    kinds.document("test_json", "For a test.", default=declared.Codes(codes=["a"]), **public)
    kinds.string("test_secret", "For a test.", default="tell-nobody-0", visibility=Visibility.private)
    yield
    dynamic.DECLARED.clear()
    dynamic.DECLARED.update(before)
