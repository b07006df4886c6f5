"""Evaluating a thousand flags for one caller, half of them by role and account, half by percentage. No I/O is done."""

import time
from statistics import median
from uuid import uuid4

from app.core import dynamic
from app.core.dynamic import Caller, Flag, Visibility

from bench.measuring import judge
from bench.stack import machine

FLAGS, ROUNDS = 1_000, 200


def main() -> int:
    others = [str(uuid4()) for _ in range(20)]
    for number in range(FLAGS):
        flag = Flag(f"bench_{number}", "For the bench.", visibility=Visibility.public)
        flag.use({"percentage": number % 100} if number % 2 else {"roles": ["support"], "users": others})
    spent = []
    for _ in range(ROUNDS):
        caller = Caller(uuid4(), frozenset({"user"}))
        began = time.perf_counter()
        found = dynamic.visible(caller)
        spent.append((time.perf_counter() - began) * 1e3)
    print(machine())
    print(f"{FLAGS:,} flags for one caller, {sum(value is True for value in found.values())} on, {ROUNDS} callers\n")
    return judge({"ms for all flags, median": (median(spent), 2, "<=")})
