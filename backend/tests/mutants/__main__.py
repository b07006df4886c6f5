"""Apply each lie to a copy of the backend, run its test there, and see it turn red. `make mutants`, or some by name."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.copies import Outcome, Run, run_all

HERE = Path(__file__).resolve().parent
TESTS_A_RUN = 5  # of those that are run without a lie: few, so that the cores end at about the same time
RUNS_A_CORE = 3  # a run waits most of its time, for what a lie keeps from coming
LONGEST_FIRST = ("faults", "integration", "api")  # by the folder of the test; those of the others are done in a moment


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


def without_lies(mutants: Sequence[Mutant]) -> list[Run]:
    """The runs of the mutants' tests by themselves: one that is red then would prove nothing."""
    runs = []
    for stack in sorted({mutant.stack for mutant in mutants}):
        tests = sorted({mutant.test for mutant in mutants if mutant.stack == stack}, key=_rank)
        runs += [Run(stack, tuple(tests[at : at + TESTS_A_RUN])) for at in range(0, len(tests), TESTS_A_RUN)]
    return runs


def _rank(test: str) -> tuple[int, str]:
    """The longest first: one that began last would leave the other cores idle."""
    folder = Path(test).parts[1]
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST), test


def judge(mutant: Mutant, done: Outcome) -> str | None:
    """What is wrong with this mutant, or None when its test turned red for it."""
    if done.code == 1 and " failed" in done.output:
        return None
    if done.code == 0:
        return f"SURVIVED: {mutant.test} stays green although {mutant.lie}"
    return f"BROKEN: {mutant.test} did not run (exit {done.code})\n{done.output[-5000:]}"


def main(names: list[str]) -> int:
    mutants = {file: Mutant.read(file) for file in sorted(HERE.glob("*.patch")) if not names or file.stem in names}
    if not mutants:
        print("no such mutant")
        return 2
    began, at_once, red, faults = time.monotonic(), RUNS_A_CORE * (os.cpu_count() or 1), 0, 0
    planted = sorted(mutants.values(), key=lambda mutant: _rank(mutant.test))
    runs = [Run(one.stack, (one.test,), one.file) for one in planted] + without_lies(planted)
    for done in run_all(runs, at_once):
        if done.run.patch is None:
            if done.code:
                print(f"RED WITHOUT A LIE, on the {done.run.stack} stack\n{done.output[-5000:]}", flush=True)
                red += 1
            continue
        mutant = mutants[done.run.patch]
        fault = judge(mutant, done)
        faults += fault is not None
        print(f"{fault or 'found'}  {mutant.file.stem}: {mutant.lie}", flush=True)
    print(f"{time.monotonic() - began:.0f} s")
    print(f"{len(mutants) - faults} passed, {faults} failed")
    return 1 if faults or red else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
