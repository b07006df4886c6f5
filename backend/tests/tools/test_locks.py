"""A lock names the extras that its packages ask for: with hashes, pip installs it only then."""

import re
from importlib.metadata import PackageNotFoundError, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.services import BACKEND

PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?==", re.MULTILINE)


def _pins(lock: str) -> dict[str, set[str]]:
    """The extras of each package that is pinned there."""
    pins = PIN.findall((BACKEND / lock).read_text())
    return {canonicalize_name(name): set(filter(None, extras.split(","))) for name, extras in pins}


def _wanted(name: str, extras: set[str]) -> list[Requirement]:
    """What an installed package requires on this machine with these extras; nothing when it is not installed here."""
    try:
        requirements = map(Requirement, requires(name) or [])
    except PackageNotFoundError:
        return []
    environments = [{"extra": extra} for extra in {"", *extras}]
    return [r for r in requirements if r.marker is None or any(map(r.marker.evaluate, environments))]


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock", "requirements-test.lock"])
def test_pip_can_install_a_lock_by_its_hashes(lock: str) -> None:
    pins = _pins(lock)
    wanted = [(name, r) for name, extras in pins.items() for r in _wanted(name, extras)]
    assert any(r.extras for _, r in wanted), "no package asks for an extra: this test would say nothing"
    assert [f"{name} wants {r}" for name, r in wanted if not r.extras <= pins[canonicalize_name(r.name)]] == []
