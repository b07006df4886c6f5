"""Apply each lie to a copy of the backend, run its test there, and see it turn red. `make mutants`, or some by name."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.copies import Outcome, Run, run_all

HERE = Path(__file__).resolve().parent
TESTS_A_RUN = 10  # of those that are run without a lie first: few, so that the cores end at about the same time


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


def run_without_lies(mutants: Sequence[Mutant], at_once: int) -> list[Outcome]:
    """The runs of the mutants' tests that are red by themselves: such a test would prove nothing."""
    runs = []
    for stack in sorted({mutant.stack for mutant in mutants}):
        tests = sorted({mutant.test for mutant in mutants if mutant.stack == stack})
        runs += [Run(stack, tuple(tests[at : at + TESTS_A_RUN])) for at in range(0, len(tests), TESTS_A_RUN)]
    return [done for done in run_all(runs, at_once) if done.code]


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
    began, at_once, faults = time.monotonic(), os.cpu_count() or 1, 0
    for red in run_without_lies(list(mutants.values()), at_once):
        print(f"RED WITHOUT A LIE, on the {red.run.stack} stack\n{red.output[-5000:]}")
        faults += 1
    if faults:
        return 1
    for done in run_all([Run(one.stack, (one.test,), one.file) for one in mutants.values()], at_once):
        assert done.run.patch is not None
        mutant = mutants[done.run.patch]
        fault = judge(mutant, done)
        faults += fault is not None
        print(f"{fault or 'found'}  {mutant.file.stem}: {mutant.lie}", flush=True)
    print(f"{time.monotonic() - began:.0f} s")
    print(f"{len(mutants) - faults} passed, {faults} failed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
