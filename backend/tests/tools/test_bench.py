"""The benchmarks can be run: each of their modules is imported, but those of the peers' own environment."""

import os
import subprocess
import sys

from tests.services import BACKEND

ROOT = BACKEND.parent
ELSEWHERE = {"bench.peers.users_app", "bench.__main__"}


def test_every_benchmark_can_be_imported() -> None:
    files = sorted((ROOT / "bench").rglob("*.py"))
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files}
    assert len(names) > 15
    imports = "".join(f"import {name}\n" for name in sorted(names - ELSEWHERE))
    code = f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(BACKEND)!r}]\n{imports}"
    env = {**os.environ, "CELERY_BROKER": "redis://127.0.0.1:1/0", "CELERY_PREFIX": "bench:"}  # nobody connects to it
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
