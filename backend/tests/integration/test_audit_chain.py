"""The chain of seals: what was done to the audit behind the application's back is found and named."""

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.services import chain
from tests.audits import Audit, own

__all__ = ["own"]


async def test_an_audit_that_nobody_touched_holds(own: Audit) -> None:
    assert (await own.verify()).holds
    await own.sealed(7)
    await own.record(2)
    report = await own.verify(await own.newest())
    assert (report.holds, report.sealed, report.unsealed) == (True, 7, 2)
    assert await own.execute("SELECT sequence FROM audit_seals ORDER BY sequence") == [(n,) for n in range(1, 8)]


ALTERED = [
    "UPDATE audit_events SET action = 'user_deleted' WHERE id = {3}",
    "UPDATE audit_events SET actor_id = {1} WHERE id = {3}",
    "UPDATE audit_events SET created_at = (SELECT created_at FROM audit_events WHERE id = {2}) WHERE id = {3}",
    "UPDATE audit_events SET target_type = NULL WHERE id = {3}",
    "UPDATE audit_events SET target_type = '' WHERE id = {3}",
    "UPDATE audit_events SET target_id = NULL WHERE id = {3}",
    "UPDATE audit_events SET result = 'failure' WHERE id = {3}",
    "UPDATE audit_events SET request_id = 'request-2' WHERE id = {3}",
    "UPDATE audit_events SET target_type = 'us', target_id = 'er' || target_id WHERE id = {3}",
    "UPDATE audit_seals SET created_at = (SELECT created_at FROM audit_events WHERE id = {1}) WHERE sequence = 3",
]


@pytest.mark.parametrize("statement", ALTERED)
async def test_an_altered_event_is_named(own: Audit, statement: str) -> None:
    await own.sealed(5)
    before = await own.verify()
    await own.tamper(statement)
    report = await own.verify()
    assert before.holds
    named = {(fault.kind, fault.sequence, fault.event_id) for fault in report.faults}
    assert named == {("event_altered", 3, str(await own.event(3)))}


DROP_ORIGINS = "DELETE FROM audit_origins"
DROP_EVENT = "DELETE FROM audit_events WHERE id = {%d}"
CASES = {
    "an event is gone": ((DROP_ORIGINS, DROP_EVENT % 3), {("event_missing", 3)}),
    "the newest event is gone": ((DROP_ORIGINS, DROP_EVENT % 5), {("event_missing", 5)}),
    "two events next to each other are altered": (
        ("UPDATE audit_events SET result = 'x' WHERE id IN ({2}, {3})",),
        {("event_or_seal_altered", 2), ("event_or_seal_altered", 3)},
    ),
    "the newest event is altered": (
        ("UPDATE audit_events SET result = 'x' WHERE id = {5}",),
        {("event_or_seal_altered", 5)},
    ),
    "a seal is another": (
        ("UPDATE audit_seals SET mac = (SELECT mac FROM audit_seals WHERE sequence = 1) WHERE sequence = 3",),
        {("seal_altered", 3)},
    ),
    "the first seal is another": (
        ("UPDATE audit_seals SET mac = (SELECT mac FROM audit_seals WHERE sequence = 2) WHERE sequence = 1",),
        {("seal_altered", 1)},
    ),
    "a seal is gone": (
        ("DELETE FROM audit_seals WHERE sequence = 3",),
        {("seal_missing", 3), ("seal_unproven", 4), ("event_unsealed", None)},
    ),
    "the first seals are gone": (
        ("DELETE FROM audit_seals WHERE sequence < 3",),
        {("seal_missing", 1), ("seal_unproven", 3), ("event_unsealed", None)},
    ),
    "an event is gone with its seal": (
        (DROP_ORIGINS, DROP_EVENT % 3, "DELETE FROM audit_seals WHERE sequence = 3"),
        {("seal_missing", 3), ("seal_unproven", 4)},
    ),
    "an event is gone with its seal, and the others moved up": (
        (
            DROP_ORIGINS,
            DROP_EVENT % 3,
            "DELETE FROM audit_seals WHERE sequence = 3",
            "UPDATE audit_seals SET sequence = 3 WHERE sequence = 4",
            "UPDATE audit_seals SET sequence = 4 WHERE sequence = 5",
        ),
        {("event_or_seal_altered", 3), ("event_or_seal_altered", 4)},
    ),
    "the newest seal is gone": (("DELETE FROM audit_seals WHERE sequence = 5",), {("event_unsealed", None)}),
    "a seal is of another key": (
        ("UPDATE audit_seals SET key_id = 'deadbeef' WHERE sequence = 3",),
        {("key_unknown", 3)},
    ),
    "a seal stands before the first": (
        ("UPDATE audit_seals SET sequence = 0 WHERE sequence = 1",),
        {("seal_forged", 0), ("seal_missing", 1), ("seal_unproven", 2)},
    ),
    "seals changed places": (
        (
            "UPDATE audit_seals SET sequence = 99 WHERE sequence = 2",
            "UPDATE audit_seals SET sequence = 2 WHERE sequence = 3",
            "UPDATE audit_seals SET sequence = 3 WHERE sequence = 99",
        ),
        {("event_or_seal_altered", 2), ("event_or_seal_altered", 3), ("event_or_seal_altered", 4)},
    ),
    "an event was slipped in behind the sealer": (
        (
            "INSERT INTO audit_events (id, created_at, action, result) "
            "SELECT '0190163d8694739baea5966c26f8ad91', created_at, action, result FROM audit_events WHERE id = {3}",
            "DELETE FROM audit_unsealed",
        ),
        {("event_unsealed", None)},
    ),
    "an event was slipped in with a seal": (
        (
            "INSERT INTO audit_events (id, created_at, action, result) "
            "SELECT '0190163d8694739baea5966c26f8ad91', created_at, action, result FROM audit_events WHERE id = {3}",
            "DELETE FROM audit_unsealed",
            "INSERT INTO audit_seals (sequence, event_id, key_id, mac, created_at) "
            "SELECT 6, '0190163d8694739baea5966c26f8ad91', key_id, mac, created_at FROM audit_seals WHERE sequence = 5",
        ),
        {("event_or_seal_altered", 6)},
    ),
    "an address is another": (
        ("UPDATE audit_origins SET ip = '203.0.113.9' WHERE event_id = {3}",),
        {("origin_altered", None)},
    ),
    "a user agent is another": (
        ("UPDATE audit_origins SET user_agent = NULL WHERE event_id = {3}",),
        {("origin_altered", None)},
    ),
    "address and user agent changed places": (
        ("UPDATE audit_origins SET ip = user_agent, user_agent = ip WHERE event_id = {3}",),
        {("origin_altered", None)},
    ),
    "where it came from is gone": ((DROP_ORIGINS,), set()),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_was_done_to_the_audit_is_named(own: Audit, case: str) -> None:
    statements, expected = CASES[case]
    await own.sealed(5)
    await own.tamper(*statements)
    assert await own.found() == expected


@pytest.mark.stack(name="embedded")
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE audit_events SET created_at = 'long ago' WHERE id = {3}", ("event_or_seal_altered", 3)),
        ("UPDATE audit_events SET created_at = 17 WHERE id = {3}", ("event_or_seal_altered", 3)),
        ("UPDATE audit_events SET actor_id = 'me' WHERE id = {3}", ("event_or_seal_altered", 3)),
        ("UPDATE audit_events SET result = x'00ff' WHERE id = {3}", ("event_or_seal_altered", 3)),
        ("UPDATE audit_seals SET mac = 'text' WHERE sequence = 5", ("event_or_seal_altered", 5)),
        ("UPDATE audit_seals SET event_id = 'none' WHERE sequence = 5", ("event_missing", 5)),
        ("UPDATE audit_origins SET salt = 'text' WHERE event_id = {3}", ("origin_altered", None)),
    ],
)
async def test_what_cannot_be_read_any_more_is_named(own: Audit, statement: str, expected: tuple[str, int]) -> None:
    """PostgreSQL refuses by itself what is not of the column's type."""
    await own.sealed(5)
    await own.tamper(statement)
    assert expected in await own.found()


async def test_a_cut_tail_is_found_by_a_seal_that_was_kept_elsewhere(own: Audit) -> None:
    await own.sealed(5)
    kept = await own.newest()
    await own.tamper(DROP_ORIGINS, DROP_EVENT % 5, "DELETE FROM audit_seals WHERE sequence = 5")
    assert (await own.verify()).holds  # by itself it cannot know
    assert [fault.kind for fault in (await own.verify(kept)).faults] == ["tail_cut"]
    await own.sealed(3)  # the chain went on, and its fifth seal is another now
    assert [(fault.kind, fault.sequence) for fault in (await own.verify(kept)).faults] == [("seal_altered", 5)]


@pytest.mark.no_cover
async def test_more_faults_than_are_named_are_counted(own: Audit) -> None:
    for _ in range(3):
        await own.sealed(500)
    await own.tamper("UPDATE audit_events SET result = 'x'")
    report = await own.verify()
    assert (len(report.faults), report.unnamed) == (1000, 500)


SQLITE, POSTGRESQL = pytest.mark.stack(name="embedded"), pytest.mark.stack(name="server")
REFUSED = [
    "UPDATE {table} SET created_at = created_at",
    "DELETE FROM {table}",
    pytest.param("DELETE FROM {table} WHERE 1 = 0", marks=POSTGRESQL),  # SQLite asks for each row, and there is none
    pytest.param("TRUNCATE {table} CASCADE", marks=POSTGRESQL),
    pytest.param("INSERT OR REPLACE INTO {table} SELECT * FROM {table}", marks=SQLITE),
    pytest.param(
        "INSERT OR REPLACE INTO {table} (rowid, {columns}) SELECT 1, {columns} FROM {table} WHERE {key} <> {first}",
        marks=SQLITE,
    ),
]


@pytest.mark.parametrize("table", ["audit_events", "audit_seals"])
@pytest.mark.parametrize("statement", REFUSED)
async def test_the_database_refuses_to_change_or_delete(own: Audit, table: str, statement: str) -> None:
    await own.sealed(2)
    key, columns = {
        "audit_events": ("id", "id, created_at, action, result"),
        "audit_seals": ("sequence", "sequence, event_id, key_id, mac, created_at"),
    }[table]
    first = (await own.execute(f"SELECT {key} FROM {table} ORDER BY 1 LIMIT 1"))[0][0]
    with pytest.raises(DBAPIError, match="is only added to"):
        await own.execute(statement.format(table=table, key=key, columns=columns, first=repr(first)))
    assert (await own.verify()).sealed == 2


async def test_one_process_seals_and_another_takes_over_when_its_lease_has_run_out(own: Audit) -> None:
    first, second = uuid4(), uuid4()
    await own.record(2)
    assert await own.seal(first, most=1) == 1
    assert await own.seal(second) is None
    assert await own.seal(first, most=1) == 1
    await own.record(1)
    await own.execute(
        "UPDATE leases SET until = created FROM (SELECT min(created_at) AS created FROM audit_events) AS e"
    )
    assert await own.seal(second) == 1
    assert await own.seal(first) is None
    assert (await own.verify()).holds


async def test_sealers_that_meet_never_fork_the_chain(own: Audit) -> None:
    """Even without the lease: of two that append the same number, one is refused by the table itself."""
    await own.sealed(1)
    await own.record(1)
    with pytest.raises(IntegrityError):
        await own.execute(
            "INSERT INTO audit_seals (sequence, event_id, key_id, mac, created_at) "
            "SELECT 1, event_id, key_id, mac, s.created_at FROM audit_seals AS s"
        )
    for _ in range(10):
        await own.record(20)
        await asyncio.gather(*(own.seal(me, most=7) for me in (uuid4(), own.me, own.me)))
    while await own.seal():
        pass
    report = await own.verify()
    assert (report.holds, report.sealed, report.unsealed) == (True, 202, 0)


async def test_an_event_that_is_put_back_into_the_queue_stops_nothing(own: Audit) -> None:
    await own.sealed(2)
    await own.execute("INSERT INTO audit_unsealed (event_id) SELECT event_id FROM audit_seals")
    await own.sealed(1)
    report = await own.verify()
    assert (report.holds, report.sealed, report.unsealed) == (True, 3, 0)


OLD = b"an-old-secret-that-was-replaced-once"


async def sealed_with(own: Audit, secret: bytes, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many events more, sealed by a process that has this SECRET_KEY."""
    with monkeypatch.context() as patched:
        patched.setattr(chain, "root", lambda: secret)
        await own.sealed(number)


async def test_a_replaced_secret_is_given_to_verify_what_it_sealed(own: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    await sealed_with(own, OLD, 3, monkeypatch)
    await own.sealed(2)
    assert await own.found() == {("key_unknown", 1), ("key_unknown", 2), ("key_unknown", 3)}
    assert (await own.verify(None, OLD)).holds
    await own.tamper("UPDATE audit_events SET result = 'x' WHERE id = {2}")
    report = await own.verify(None, OLD)
    assert [(fault.kind, fault.sequence) for fault in report.faults] == [("event_altered", 2)]


async def test_who_has_a_replaced_secret_makes_no_seal_with_it(own: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    await sealed_with(own, OLD, 2, monkeypatch)
    await own.sealed(2)
    await sealed_with(own, OLD, 1, monkeypatch)
    await own.sealed(1)
    report = await own.verify(None, OLD)
    assert {(fault.kind, fault.sequence) for fault in report.faults} == {("key_replaced", 5), ("key_replaced", 6)}
    await own.tamper(DROP_ORIGINS, "DELETE FROM audit_seals WHERE sequence > 2")
    report = await own.verify(None, OLD)  # all that the present secret sealed was cut off
    assert ("key_replaced", 2) in {(fault.kind, fault.sequence) for fault in report.faults}
