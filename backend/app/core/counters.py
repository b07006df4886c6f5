"""The general limit: counted in the process, reconciled with Redis in the background. No request waits for it.

A client's requests are counted in slots of a sixtieth of the window, the running one and the sixty before it, so that
no window of any sixty seconds holds more than the quota. Between two reconciliations a process spends at most its share
of what is left; a client that uses it quickly, or was not heard of for a while, is reconciled at once, and not only at
the next second.
"""

import asyncio
from array import array
from collections import OrderedDict

from app.core import clock
from app.core.limiter import Verdict
from app.core.metrics import LIMIT_REFUSALS
from app.core.rate import Rate

SLOTS = 60
RING = SLOTS + 1
MOST_CLIENTS = 10_000  # about 12 MB at worst; the one that asked longest ago goes, and Redis still knows it
SLACK = 0.15  # of a process's share: what may pass beyond it before the others are heard
FRESH = 1.5  # seconds; a client that was not heard of for longer is reconciled at its first request
HURRY = 0.05  # of a process's share: past it the client is reconciled at once


class Client:
    """What is known of one client, by slot."""

    __slots__ = ("allowance", "everyone", "first", "heard_at", "own", "own_total", "slot", "told", "total", "unsent")

    def __init__(self, slot: int, allowance: float) -> None:
        self.slot = self.first = slot
        self.own = array("I", [0]) * RING
        """What this process let pass."""
        self.told = array("I", [0]) * RING
        """How much of that Redis has been told."""
        self.everyone = array("I", [0]) * RING
        """What all processes let pass, as Redis last said."""
        self.own_total = self.total = self.unsent = 0
        self.heard_at = 0.0
        """When Redis last said what passed."""
        self.allowance = allowance
        """How much may be unsent."""

    def roll(self, slot: int) -> None:
        """Let the slots go that have left the window."""
        if slot < self.slot - 1:  # the clock was put back
            self.__init__(slot, self.allowance)  # type: ignore[misc]  # begins anew, as a client that nobody knows
        elif slot > self.slot:
            for gone in range(max(self.slot + 1, slot - SLOTS), slot + 1):
                self.own[gone % RING] = self.told[gone % RING] = self.everyone[gone % RING] = 0
            self.slot = slot
            self.add_up()

    def add_up(self) -> None:
        self.own_total = sum(self.own)
        self.unsent = self.own_total - sum(self.told)
        self.total = max(self.own_total, sum(self.everyone) + self.unsent)  # a Redis that was emptied knows less
        slots = range(self.slot - SLOTS, self.slot + 1)
        self.first = next((s for s in slots if self.own[s % RING] or self.everyone[s % RING]), self.slot)

    def count(self) -> None:
        self.own[self.slot % RING] += 1
        self.own_total += 1
        self.total += 1
        self.unsent += 1

    def pending(self) -> dict[int, int]:
        """What Redis has not been told yet, by slot."""
        slots = range(self.slot - SLOTS, self.slot + 1)
        return {s: n for s in slots if (n := self.own[s % RING] - self.told[s % RING])}

    def heard(self, said: dict[int, int], told: dict[int, int]) -> None:
        """Redis was told `told`, and says that `said` passed in all."""
        for slot in range(self.slot - SLOTS, self.slot + 1):
            self.told[slot % RING] = min(self.own[slot % RING], self.told[slot % RING] + told.get(slot, 0))
            self.everyone[slot % RING] = said.get(slot, 0)
        self.add_up()


class Counters:
    """One rule, counted for every client."""

    def __init__(self, rule: str, rate: Rate, processes: int, most: int = MOST_CLIENTS) -> None:
        self.rule, self.rate, self._most = rule, rate, most
        self.span = rate.window / SLOTS
        self._share = max(1, rate.quota // processes)
        self._processes = processes
        self._hurry = max(1.0, HURRY * rate.quota / processes)
        self.clients: OrderedDict[str, Client] = OrderedDict()
        self.waiting: set[str] = set()
        """Clients that asked since they were last reconciled."""
        self.hurry = asyncio.Event()
        """One of them used up so much that it should not wait for the next second."""
        self.cut_off = False
        """Redis does not answer: each process keeps to its share."""

    def take(self, client: str) -> Verdict:
        """Let one more request of `client` pass, if the rate allows it."""
        now = clock.utc_now().timestamp()
        known = self._client(client, int(now / self.span))
        used, quota = (known.own_total, self._share) if self.cut_off else (known.total, self.rate.quota)
        self.waiting.add(client)
        if now - known.heard_at > FRESH:  # other processes may know more of it
            self.hurry.set()
        if used >= quota:
            LIMIT_REFUSALS.labels(rule=self.rule).inc()
            frees = self._frees(known, now)
            return Verdict(self.rule, self.rate, 0, frees, frees)
        if known.unsent >= known.allowance and not self.cut_off:
            LIMIT_REFUSALS.labels(rule=self.rule).inc()
            self.hurry.set()
            return Verdict(self.rule, self.rate, 0, 1, 1)
        known.count()
        if known.unsent >= self._hurry:
            self.hurry.set()
        return Verdict(self.rule, self.rate, quota - used - 1, min(self.rate.window, self._frees(known, now)), 0)

    def heard(self, client: Client, said: dict[int, int], told: dict[int, int]) -> None:
        """Redis was told `told` of this client, and says that `said` passed in all."""
        client.heard(said, told)
        client.heard_at = clock.utc_now().timestamp()
        client.allowance = self._allowance(client.total)

    def _frees(self, known: Client, now: float) -> float:
        """Seconds until the oldest requests leave the window."""
        return (known.first + RING) * self.span - now

    def _client(self, client: str, slot: int) -> Client:
        known = self.clients.get(client)
        if known is None:
            known = self.clients[client] = Client(slot, self._allowance(0))
            if len(self.clients) > self._most:
                self.waiting.discard(self.clients.popitem(last=False)[0])
        else:
            self.clients.move_to_end(client)
        if known.slot != slot:
            known.roll(slot)
        return known

    def _allowance(self, used: int) -> float:
        """What a process may let pass before it hears of the others: its share of what is left, and a little."""
        if self._processes == 1:
            return float("inf")
        return max(1.0, max(0, self.rate.quota - used) / self._processes + SLACK * self._share)
