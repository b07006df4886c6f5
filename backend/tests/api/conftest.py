import pytest


@pytest.fixture(autouse=True)
def _clean(clean: None) -> None:
    """Each of these tests leaves the tables empty."""
