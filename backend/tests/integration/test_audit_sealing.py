"""The sealer and `neoforge audit verify`, as processes on the stack."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from httpx2 import AsyncClient
from sqlalchemy import text

from app.core.config import settings
from app.core.db import new_session
from app.services import maintenance
from app.services.audit_check import Report, verify
from app.worker.sealer import Sealer
from tests.audits import Audit, own
from tests.fixtures import Clock
from tests.flows import V1, Account, signed_in
from tests.services import BACKEND
from tests.stack import Worker
from tests.waiting import eventually

__all__ = ["own"]


async def neoforge(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", "audit", "verify", *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, env={**os.environ, **env}, cwd=BACKEND, capture_output=True, text=True, timeout=60
    )


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
        gone = await maintenance.sweep(db)
        await db.commit()
    assert gone["audit_origins"] >= 1
    assert (await all_sealed()).holds


async def test_verify_says_what_it_found(own: Audit, tmp_path: Path) -> None:
    await own.sealed(3)
    await own.record(1)
    sequence, mac = await own.newest()
    seal = f"{sequence}:{mac.hex()}"
    fine = await neoforge("--json", "--seal", seal, DATABASE_URL=own.url)
    assert (fine.returncode, fine.stderr) == (0, "")
    said = json.loads(fine.stdout)
    assert said == {"holds": True, "sealed": 3, "unsealed": 1, "newest": seal, "faults": [], "unnamed": 0}
    told = await neoforge(DATABASE_URL=own.url)
    assert told.stdout == f"sealed: 3, not sealed yet: 1\nnewest seal: {seal}\n"

    await own.tamper("UPDATE audit_events SET result = 'failure' WHERE id = {2}")
    altered = await neoforge("--json", DATABASE_URL=own.url)
    assert altered.returncode == 1
    assert altered.stderr.count("\n") == 1
    assert "1 faults" in altered.stderr
    fault = json.loads(altered.stdout)["faults"][0]
    assert (fault["kind"], fault["sequence"], fault["event_id"]) == ("event_altered", 2, str(await own.event(2)))
    named = await neoforge(DATABASE_URL=own.url)
    assert f"event_altered: seal 2, event {fault['event_id']}: " in named.stdout

    other = await neoforge("--json", DATABASE_URL=own.url, SECRET_KEY="another" * 10)
    assert {fault["kind"] for fault in json.loads(other.stdout)["faults"]} == {"key_unknown"}
    (tmp_path / "old").write_text(os.environ["SECRET_KEY"] + "\n")
    old = ("--old-secret-file", str(tmp_path / "old"))
    other = await neoforge("--json", *old, DATABASE_URL=own.url, SECRET_KEY="another" * 10)
    kinds = [fault["kind"] for fault in json.loads(other.stdout)["faults"]]
    assert sorted(kinds) == ["event_altered", "key_replaced"]


async def test_a_seal_that_is_none_is_wrong_use() -> None:
    for seal in ("7", "7:abc", f"0:{'0' * 64}", "x"):
        refused = await neoforge("--seal", seal)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
