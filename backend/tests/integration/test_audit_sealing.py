"""The sealer and `neoforge audit verify`, as processes on the stack."""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from httpx2 import AsyncClient
from sqlalchemy import text

from app.core.config import settings
from app.core.db import new_session
from app.services import sealing
from app.services.audit_check import Report, verify
from app.worker.sealer import Sealer
from tests.audits import Audit, own
from tests.commands import neoforge
from tests.fixtures import Clock
from tests.flows import V1, Account, signed_in
from tests.services import Services
from tests.stack import Process, Server, Worker
from tests.sweeping import sweep
from tests.waiting import eventually

__all__ = ["own"]


async def verifying(*arguments: str, **env: str) -> CompletedProcess[str]:
    return await asyncio.to_thread(neoforge, "audit", "verify", *arguments, **env)


async def rows(statement: str) -> list[tuple[Any, ...]]:
    async with new_session(read_only=True) as db:
        return [tuple(row) for row in (await db.exec(text(statement))).all()]  # type: ignore[call-overload] # typed for select() only


async def all_sealed() -> Report:
    """The state of this process's own audit, as soon as nothing waits: whoever seals, a scheduler or we."""
    sealer = Sealer()

    async def report() -> Report | None:
        while await sealer.seal():
            pass
        async with new_session(read_only=True) as db:
            found = await verify(db)
        return None if found.unsealed else found

    return await eventually(report)


async def test_an_event_is_sealed_within_a_second_of_its_commit(worker: Worker, client: AsyncClient) -> None:
    waits = []
    for _ in range(5):
        account = await signed_in(client)
        seconds = "SELECT s.created_at, e.created_at FROM audit_seals s JOIN audit_events e ON e.id = s.event_id "
        sign_in = f"{seconds} WHERE e.action = 'session_opened' AND e.target_id = '{(await account.me()).json()['id']}'"

        waits += await eventually(partial(rows, sign_in))
    apart = sorted(_seconds(one) for one in waits)
    assert apart[2] < 1, apart


def _seconds(one) -> float:
    sealed, written = (datetime.fromisoformat(str(moment)) for moment in one)
    return (sealed - written).total_seconds()


async def test_deleting_an_account_takes_its_origins_and_leaves_the_chain_whole(client: AsyncClient) -> None:
    account = await signed_in(client)
    user_id = (await account.me()).json()["id"]
    await all_sealed()
    answer = await client.delete(f"{V1}/users/me", headers=account.bearer)
    assert answer.status_code == 204
    assert (await all_sealed()).holds
    ours = f"FROM audit_events e LEFT JOIN audit_origins o ON o.event_id = e.id WHERE e.target_id = '{user_id}'"
    kept, placed = (await rows(f"SELECT count(e.id), count(o.event_id) {ours}"))[0]
    assert kept >= 3
    assert placed == 0


async def test_origins_go_with_age_and_leave_the_chain_whole(client: AsyncClient, clock: Clock) -> None:
    account = Account(client)
    await account.login()  # of nobody: its origin hangs on no account
    await all_sealed()
    clock.advance(timedelta(days=settings.audit_origins_kept_days))
    async with new_session() as db:
        gone = await sweep(db)
        await db.commit()
    assert gone["audit_origins"] >= 1
    assert (await all_sealed()).holds


async def test_verify_says_what_it_found(own: Audit, tmp_path: Path) -> None:
    await own.sealed(3)
    await own.record(1)
    sequence, mac = await own.newest()
    seal = f"{sequence}:{mac.hex()}"
    fine = await verifying("--json", "--seal", seal, DATABASE_URL=own.url)
    assert (fine.returncode, fine.stderr) == (0, "")
    said = json.loads(fine.stdout)
    assert said == {"holds": True, "sealed": 3, "unsealed": 1, "newest": seal, "faults": [], "unnamed": 0}
    told = await verifying(DATABASE_URL=own.url)
    assert told.stdout == f"sealed: 3, not sealed yet: 1\nnewest seal: {seal}\n"

    await own.tamper("UPDATE audit_events SET result = 'failure' WHERE id = {2}")
    altered = await verifying("--json", DATABASE_URL=own.url)
    assert altered.returncode == 1
    assert altered.stderr.count("\n") == 1
    assert "1 faults" in altered.stderr
    fault = json.loads(altered.stdout)["faults"][0]
    assert (fault["kind"], fault["sequence"], fault["event_id"]) == ("event_altered", 2, str(await own.event(2)))
    named = await verifying(DATABASE_URL=own.url)
    assert f"event_altered: seal 2, event {fault['event_id']}: " in named.stdout

    other = await verifying("--json", DATABASE_URL=own.url, SECRET_KEY="another" * 10)
    assert {fault["kind"] for fault in json.loads(other.stdout)["faults"]} == {"key_unknown"}
    (tmp_path / "old").write_text(os.environ["SECRET_KEY"] + "\n")
    old = ("--old-secret-file", str(tmp_path / "old"))
    other = await verifying("--json", *old, DATABASE_URL=own.url, SECRET_KEY="another" * 10)
    kinds = [fault["kind"] for fault in json.loads(other.stdout)["faults"]]
    assert sorted(kinds) == ["event_altered", "key_replaced"]


async def test_a_seal_that_is_none_is_wrong_use() -> None:
    for seal in ("7", "7:abc", f"0:{'0' * 64}", "x"):
        refused = await verifying("--seal", seal)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


async def test_the_metrics_say_how_much_is_sealed_and_how_long_the_first_event_waits(client: AsyncClient) -> None:
    await signed_in(client)
    await all_sealed()
    newest = (await rows("SELECT max(sequence) FROM audit_seals"))[0][0]
    lines = (await client.get(f"{V1}/metrics")).text.splitlines()
    told = {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("audit_")}
    assert told["audit_seals"] >= newest
    assert 0 <= told["audit_unsealed_age_seconds"] < 60


async def test_metrics_are_read_without_a_database(server: Callable[..., Awaitable[Server]]) -> None:
    with socket.socket() as nobody:  # bound and not listening: a connection is refused
        nobody.bind(("127.0.0.1", 0))
        api = await server(DATABASE_URL=f"postgresql://u:p@127.0.0.1:{nobody.getsockname()[1]}/d")
        async with AsyncClient(base_url=api.url, trust_env=False) as client:
            answer = await client.get(f"{V1}/metrics")
    assert answer.status_code == 200
    assert "audit_seals 0.0" in answer.text


async def test_a_scheduler_tells_the_newest_seal_and_that_the_chain_was_cut(own: Audit, services: Services) -> None:
    await own.sealed(3)
    first = await own.newest()
    env = {"DATABASE_URL": own.url, "REDIS_PREFIX": os.environ["REDIS_PREFIX"] + "cut:"}
    scheduler = Process(services, ["scheduler"], env)
    try:
        await eventually(lambda: f'"seal": "{first[0]}:{first[1].hex()}"' in scheduler.output())
        await own.record(2)
        await eventually(partial(own.is_sealed, 5))
        await own.tamper("DELETE FROM audit_seals WHERE sequence > 3")
        await own.record(1)
        await eventually(lambda: "audit_seals_lost" in scheduler.output())
    finally:
        scheduler.stop()
    assert await own.execute("SELECT name FROM leases") == []  # another need not wait for its end
    assert (await own.verify()).holds is False


@pytest.mark.stack(name="server")  # SQLite lets one transaction write at a time: a batch takes some 20 ms
async def test_who_writes_events_does_not_wait_for_the_sealer(own: Audit) -> None:
    await own.record(50)
    async with own.session() as db:
        assert await sealing.seal(db, own.me)
        async with asyncio.timeout(20):
            await own.record(50)
        await db.commit()
    await own.sealed(0)
    report = await own.verify()
    assert (report.holds, report.sealed) == (True, 100)
