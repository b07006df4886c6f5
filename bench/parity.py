"""Whether the time of an answer tells who has an account: known addresses against unknown ones, strictly interleaved.

Each address is asked once a route, so that its limits and its five mails an hour are never reached and both sides have
the same past: registering last, since it makes an unknown address known. Alike means: the medians of a route and a kind
of account are within 10 % or 5 ms of each other. Where chance could have decided that, more addresses are asked.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from http.client import HTTPConnection
from itertools import product
from math import hypot, sqrt
from statistics import median
from typing import NamedTuple

from bench.stack import Stack, machine, post, stack
from tests.services import execute

PAIRS = int(os.environ.get("BENCH_PAIRS", "100"))  # of each route and kind, in a round
ROUNDS = 3  # at most; one is enough on a quiet machine
WITHIN_PART, WITHIN_MS = 0.10, 5.0
PASSWORD = "plum-otter-42-lantern"
ROUTES = {
    "login": ("/auth/login", {"password": "wrong-plum-otter-77"}, 401),
    "forgot": ("/auth/password/forgot", {}, 202),
    "resend": ("/auth/verify-email/resend", {}, 202),
    "register": ("/auth/register", {"password": "another-plum-otter-77"}, 202),
}
KINDS = {"unverified": "", "verified": "is_verified = true", "disabled": "is_verified = true, is_active = false"}
Spent = defaultdict[tuple[str, str, bool], list[float]]
"""Milliseconds, by route, kind of account, and whether the address was known."""


class Row(NamedTuple):
    """The medians of one route and one kind of account, in ms."""

    route: str
    kind: str
    known: float
    unknown: float
    error: float
    """The standard error of their difference."""

    @classmethod
    def of(cls, spent: Spent, route: str, kind: str) -> "Row":
        known, unknown = spent[route, kind, True], spent[route, kind, False]
        return cls(route, kind, median(known), median(unknown), hypot(error_of(known), error_of(unknown)))

    @property
    def beyond(self) -> float:
        """By how many ms they are further apart than they may be."""
        return abs(self.known - self.unknown) - max(WITHIN_MS, WITHIN_PART * min(self.known, self.unknown))

    @property
    def is_certain(self) -> bool:
        return abs(self.beyond) > 2 * self.error

    def __str__(self) -> str:
        medians = f"{self.known:.1f} | {self.unknown:.1f} | {self.known - self.unknown:+.1f} ± {self.error:.1f}"
        verdict = ("NOT OK" if self.beyond > 0 else "ok") + ("" if self.is_certain else ", or chance")
        return f"| {self.route} | {self.kind} | {medians} | {self.known / self.unknown - 1:+.1%} | {verdict} |"


def error_of(sample: Sequence[float]) -> float:
    """The standard error of a median: half of what lies between the ranks that are one deviation off."""
    ordered, off = sorted(sample), sqrt(len(sample)) / 2
    middle = (len(sample) - 1) / 2
    return (ordered[min(len(sample) - 1, round(middle + off))] - ordered[max(0, round(middle - off))]) / 2


def address(kind: str, number: int, *, known: bool) -> str:
    """Alike in length and form too."""
    return f"{kind}-{number:04}-{'k' if known else 'u'}@example.com"


def make_accounts(ours: Stack, numbers: range) -> None:
    """Accounts that registered; the verified ones have signed in from where the questions come."""
    for kind, number in product(KINDS, numbers):
        post(f"{ours.api}/auth/register", {"email": address(kind, number, known=True), "password": PASSWORD})
    for kind, values in KINDS.items():
        if values:
            execute(ours.database_url, f"UPDATE users SET {values} WHERE email LIKE '{kind}-%-k@%'")
    for number in numbers:
        post(f"{ours.api}/auth/login", {"email": address("verified", number, known=True), "password": PASSWORD})


def ask(connection: HTTPConnection, route: str, email: str) -> float:
    """How long the answer took, in ms."""
    path, fields, status = ROUTES[route]
    body = json.dumps({"email": email, **fields}).encode()
    began = time.perf_counter()
    connection.request("POST", f"/api/v1{path}", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    told = answer.read()
    took = (time.perf_counter() - began) * 1000
    if answer.status != status:
        raise SystemExit(f"{path} of {email} answers {answer.status}, not {status}: {told.decode()}")
    return took


def measure(ours: Stack, numbers: range, spent: Spent) -> list[Row]:
    connection = HTTPConnection("127.0.0.1", ours.port, timeout=30)
    for route, number, kind in product(ROUTES, numbers, KINDS):
        for known in (True, False) if number % 2 else (False, True):
            spent[route, kind, known].append(ask(connection, route, address(kind, number, known=known)))
    connection.close()
    return [Row.of(spent, route, kind) for route, kind in product(ROUTES, KINDS)]


def main() -> int:
    rows: list[Row] = []
    spent: Spent = defaultdict(list)
    asked = 0
    with stack(REQUIRE_VERIFIED_EMAIL="true") as ours:
        while asked < ROUNDS * PAIRS and not (rows and all(row.is_certain for row in rows)):
            numbers = range(asked, asked + PAIRS)
            make_accounts(ours, numbers)
            rows, asked = measure(ours, numbers, spent), numbers.stop
    print(machine())
    print(f"one connection, {asked} pairs of addresses a row, known and unknown in turn, medians\n")
    print("| route | known address | known ms | unknown ms | apart ms | apart | |")
    print("| --- | --- | ---: | ---: | ---: | ---: | --- |", *rows, sep="\n")
    print(f"\nalike: within {WITHIN_PART:.0%} or {WITHIN_MS:g} ms; {sum(row.beyond > 0 for row in rows)} are not")
    return 1 if any(row.beyond > 0 for row in rows) else 0
