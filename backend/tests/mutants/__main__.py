"""Apply each lie to a copy of the backend, run its test there, and see it turn red. `make mutants`, or some by name."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
BACKEND = HERE.parents[1]
LEFT_OUT = shutil.ignore_patterns(
    ".*_cache", "__pycache__", ".hypothesis", "htmlcov", ".coverage*", ".venv", "*.egg-info"
)


@dataclass(frozen=True)
class Mutant:
    file: Path
    lie: str
    test: str
    stack: str

    @classmethod
    def read(cls, file: Path) -> "Mutant":
        lines = file.read_text().splitlines()
        if len(lines) < 2 or not lines[0].startswith("Lie: ") or not lines[1].startswith("Test: "):
            raise SystemExit(f"{file.name}: begin with the lines 'Lie: …' and 'Test: …'")
        test = lines[1].removeprefix("Test: ").strip()
        stack, colon, node = test.partition(":")
        known = colon and stack in ("embedded", "server")
        return cls(file, lines[0].removeprefix("Lie: "), node if known else test, stack if known else "embedded")


def run(mutant: Mutant | None, stack: str, *tests: str) -> subprocess.CompletedProcess[str]:
    """Run the tests in a fresh copy, with the lie applied."""
    with tempfile.TemporaryDirectory(prefix="neoforge-mutant-") as folder:
        root = Path(folder)
        shutil.copytree(BACKEND, root / "backend", ignore=LEFT_OUT)
        for name in ("docs", ".env.example"):
            source = BACKEND.parent / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, root / name)
        if mutant:
            subprocess.run(["git", "apply", "--unidiff-zero", str(mutant.file)], cwd=root / "backend", check=True)
        env = {**os.environ, "NEOFORGE_TEST_STACK": stack, "PYTHONPATH": str(root / "backend"), "FAULTS": "short"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        return subprocess.run(command, cwd=root / "backend", env=env, capture_output=True, text=True, timeout=300)


def judge(mutant: Mutant) -> str | None:
    """What is wrong with this mutant, or None when its test turned red for it."""
    done = run(mutant, mutant.stack, mutant.test)
    if done.returncode == 1 and " failed" in done.stdout:
        return None
    if done.returncode == 0:
        return f"SURVIVED: {mutant.test} stays green although {mutant.lie}"
    return f"BROKEN: {mutant.test} did not run (exit {done.returncode})\n{done.stdout[-3000:]}{done.stderr[-2000:]}"


def main(names: list[str]) -> int:
    mutants = [Mutant.read(file) for file in sorted(HERE.glob("*.patch")) if not names or file.stem in names]
    if not mutants:
        print("no such mutant")
        return 2
    for stack in sorted({mutant.stack for mutant in mutants}):  # a test that is red by itself would prove nothing
        done = run(None, stack, *sorted({mutant.test for mutant in mutants if mutant.stack == stack}))
        if done.returncode:
            print(f"RED WITHOUT A LIE, on the {stack} stack\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
            return 1
    began, faults = time.monotonic(), 0
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for mutant, fault in zip(mutants, threads.map(judge, mutants), strict=True):
            faults += fault is not None
            print(f"{fault or 'found'}  {mutant.file.stem}: {mutant.lie}", flush=True)
    print(f"{time.monotonic() - began:.0f} s")
    print(f"{len(mutants) - faults} passed, {faults} failed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
