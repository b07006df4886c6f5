"""Whether a copy knows of all that a process was told, over any order of transactions, reads and copies."""

from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st

from app.crud.change import Place
from app.services import told
from app.services.told import Told

SUBJECTS = ("ada", "grace")
Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(("begin", "commit", "roll back", "read", "pause", "own")), st.integers(0, 5)),
    max_size=40,
)
ONE_AFTER_THE_OTHER = [(what, who) for who in (0, 1) for what in ("begin", "commit", "read")]


@dataclass
class Database:
    """Transactions as PostgreSQL numbers and shows them, each of which changes one subject."""

    open: dict[int, str] = field(default_factory=dict)
    committed: dict[int, str] = field(default_factory=dict)
    last: int = 0

    def begin(self, subject: str) -> None:
        self.last += 1
        self.open[self.last] = subject

    def here(self) -> Place:
        return Place(self.last + 1, tuple(sorted(self.open)))


def sees(place: Place, xid: int) -> bool:
    return xid < place.at and xid not in place.open


@dataclass
class Process:
    """It reads the feed as `app.services.feed` does."""

    database: Database
    told: Told = field(default_factory=Told)
    place: Place | None = None
    heard: set[int] = field(default_factory=set)
    """Of which transactions it has to know."""

    def read(self) -> None:
        here, last = self.database.here(), self.place
        if last is None:
            self.told.begin(here, began=self.database.last)
        else:
            news = [subject for xid, subject in self.database.committed.items() if not sees(last, xid)]
            self.told.read(news, here, began=self.database.last)
        self.place = here
        self.heard |= set(self.database.committed)

    def change(self, subject: str) -> None:
        self.database.begin(subject)
        xid, _ = self.database.last, self.database.committed.update({self.database.last: subject})
        del self.database.open[xid]
        self.told.made(subject, xid)
        self.heard.add(xid)


def old(process: Process, copy: Place, subject: str) -> bool:
    """Whether the process has heard of a change that the copy does not know of."""
    committed = process.database.committed
    return any(committed[xid] == subject and not sees(copy, xid) for xid in process.heard)


def run(steps: list[Step]) -> int:
    """Take the steps, make a copy before each and look at all of them after it; how many could be used."""
    database, copies, used = Database(), [Place()], 0
    process = Process(database)
    process.read()
    for what, which in steps:
        copies.append(database.here())
        subject = SUBJECTS[which % 2]
        if what == "begin":
            database.begin(subject)
        elif what in ("commit", "roll back") and database.open:
            xid = sorted(database.open)[which % len(database.open)]
            changed = database.open.pop(xid)
            if what == "commit":
                database.committed[xid] = changed
        elif what == "read":
            process.read()
        elif what == "pause":
            process.place = None
            process.read()
        elif what == "own":
            process.change(subject)
        for copy in copies:
            for one in SUBJECTS:
                known = process.told.are_known_at(copy, [one])
                assert not (known and old(process, copy, one)), (steps, copy, one)
                used += known
    return used


@given(STEPS)
@example(ONE_AFTER_THE_OTHER)
def test_a_copy_that_is_used_knows_of_all_that_the_process_was_told(steps: list[Step]) -> None:
    run(steps)


@given(STEPS)
@example(ONE_AFTER_THE_OTHER)  # the second change makes it forget the first
def test_so_it_is_when_little_is_remembered(steps: list[Step]) -> None:
    most = told.MOST
    told.MOST = 1
    try:
        run(steps)
    finally:
        told.MOST = most


@given(STEPS)
def test_what_was_read_after_the_process_heard_of_all_is_used(steps: list[Step]) -> None:
    database = Database()
    process = Process(database)
    for what, which in steps:
        if what == "own":
            process.change(SUBJECTS[which % 2])
        elif what == "begin":
            database.begin(SUBJECTS[which % 2])
    process.read()
    assert process.told.are_known_at(database.here(), SUBJECTS)
    assert run([*steps, ("read", 0), ("read", 0)]) > 0
