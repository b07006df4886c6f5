"""`make audit-deps` tells advisories, and apart from them what could not be judged: nothing passes unanswered."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.services import BACKEND

ADVISORY = {"id": "TEST-2026-1", "fixed_in": ["1.1"], "withdrawn": None}
PAGES = {
    "/pypi/clean/1.0/json": ("1.0", []),
    "/pypi/bad/1.0/json": ("1.0", [ADVISORY]),
    "/pypi/mended/1.0/json": ("1.0", [{**ADVISORY, "withdrawn": "2026-11-01T00:00:00Z"}]),
    "/pypi/newest/json": ("2.0", []),
    "/pypi/silent/1.0/json": ("1.0", None),
    "/pypi/old/json": ("2.0", []),
}


class Index(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        version, advisories = PAGES.get(self.path, ("", []))
        self.send_response(200 if version else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"info": {"version": version}, "vulnerabilities": advisories}).encode())

    def log_message(self, *_: object) -> None:
        """It says nothing."""


@pytest.fixture
def index() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()
        thread.join()


def audit(index: str, folder: Path, *pins: str) -> subprocess.CompletedProcess[str]:
    lock = folder / "lock"
    lock.write_text("".join(f"{pin} \\\n    --hash=sha256:00\n    # via it\n" for pin in pins))
    command = [sys.executable, str(BACKEND.parent / "scripts" / "audit_deps.py"), str(lock)]
    env = {**os.environ, "PIP_INDEX_URL": index}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def test_what_is_clean_passes(index: str, tmp_path: Path) -> None:
    done = audit(index, tmp_path, "clean==1.0", "mended[extra]==1.0 ; python_version >= '3'", "newest==2.0")
    assert (done.returncode, done.stdout) == (0, "3 pinned, 3 judged, 0 advisories\n")


def test_an_advisory_is_told_whatever_else_could_not_be_judged(index: str, tmp_path: Path) -> None:
    done = audit(index, tmp_path, "clean==1.0", "bad==1.0", "unheard==1.0")
    assert done.returncode == 1
    assert "bad 1.0: TEST-2026-1 (mended in 1.1)" in done.stdout
    assert "not judged: unheard 1.0" in done.stdout


@pytest.mark.parametrize(
    ("pin", "why"),
    [
        ("old==1.0", "the index tells of 2.0 alone"),
        ("unheard==1.0", "the index has no page of it"),
        ("silent==1.0", "the index tells no advisories"),
    ],
)
def test_what_cannot_be_judged_does_not_pass_and_is_no_advisory(index: str, tmp_path: Path, pin: str, why: str) -> None:
    done = audit(index, tmp_path, "clean==1.0", pin)
    assert done.returncode == 3
    told = f"not judged: {pin.replace('==', ' ')}: {why}\n2 pinned, 1 judged, 0 advisories\n"
    assert done.stdout == told


def test_an_index_that_is_away_does_not_pass(tmp_path: Path) -> None:
    done = audit("http://127.0.0.1:1/simple", tmp_path, "clean==1.0")
    assert done.returncode == 3
    assert "not judged: clean 1.0: no answer to read" in done.stdout


def test_a_lock_without_pins_does_not_pass(index: str, tmp_path: Path) -> None:
    assert audit(index, tmp_path).returncode == 3
