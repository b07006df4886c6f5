"""Sessions against a model: whatever clients do, in whatever order, each token works exactly when the model says so."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from httpx2 import AsyncClient, Response
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.core import clock
from app.core.db import new_session
from app.schemas.users import UserCreate
from app.services import accounts
from tests.fixtures import NewClient
from tests.flows import PASSWORD, V1, Account, new_email, problem

ACCESS, GRACE = timedelta(minutes=15), timedelta(seconds=10)
IDLE, ABSOLUTE = timedelta(days=14), timedelta(days=60)
PASSWORDS = ("plum-otter-42-lantern", "quartz-heron-77-teapot", "marble-finch-13-ladder")
MOST = 6  # sessions of the account in one run
# No sum of a few of these comes within a second of a limit above, so that a slow machine changes nothing.
STEPS = (timedelta(seconds=4), timedelta(minutes=11), timedelta(hours=113))


# --- the model: what the contract says of one account's sessions ----------------------------------------------------


@dataclass
class Session:
    began: timedelta
    ends: timedelta
    rotated: timedelta
    tokens: list[str]
    """Refresh tokens by generation; the last one is current."""
    access: dict[str, timedelta] = field(default_factory=dict)
    """Access tokens, and when they end."""
    revoked: bool = False


@dataclass
class Model:
    now: timedelta = timedelta(0)
    password: int = 0
    active: bool = True
    sessions: list[Session] = field(default_factory=list)

    def open(self, pair: dict[str, Any]) -> None:
        self.sessions.append(Session(self.now, self.now + IDLE, self.now, [pair["refresh_token"]]))
        self.add_access(self.sessions[-1], pair)

    def add_access(self, session: Session, pair: dict[str, Any]) -> None:
        session.access[pair["access_token"]] = min(self.now + ACCESS, session.ends)

    def refusal(self, session: Session, generation: int) -> str | None:
        """Why a refresh token is refused; None when it is taken."""
        newest = len(session.tokens) - 1
        if session.revoked or not self.active:
            return "session_revoked"
        if session.ends <= self.now:
            return "invalid_refresh_token"
        in_grace = generation == newest - 1 and self.now - session.rotated <= GRACE
        return None if generation == newest or in_grace else "refresh_token_reused"

    def rotate(self, session: Session, token: str) -> None:
        session.tokens.append(token)
        session.rotated, session.ends = self.now, min(self.now + IDLE, session.began + ABSOLUTE)

    def end(self, session: Session) -> None:
        """What has ended by itself is not ended again."""
        session.revoked = session.revoked or session.ends > self.now

    def end_all(self, but: Session | None = None) -> None:
        for session in self.sessions:
            if session is not but:
                self.end(session)

    def refuses(self, session: Session, access: str) -> str | None:
        """Why an access token is refused; None when it lets in."""
        if session.access[access] <= self.now:
            return "invalid_access_token"
        if not self.active:
            return "disabled"
        return "session_revoked" if session.revoked else None


# --- the system beside it -------------------------------------------------------------------------------------------


class Sessions(RuleBasedStateMachine):
    loop: asyncio.AbstractEventLoop
    clients: list[AsyncClient]
    admin: Account

    def wait(self, work: Coroutine[Any, Any, Response]) -> Response:
        clock.shift(self.start + self.model.now - datetime.now(self.start.tzinfo))
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def post(self, client: int, path: str, body: Any = None, access: str = "") -> Response:
        headers = {"Authorization": f"Bearer {access}"} if access else {}
        return self.wait(self.clients[client].post(f"{V1}{path}", json=body, headers=headers))

    def me(self, access: str) -> Response:
        return self.wait(self.clients[0].get(f"{V1}/users/me", headers={"Authorization": f"Bearer {access}"}))

    @initialize()
    def register(self) -> None:
        clock.shift(timedelta(0))
        self.start, self.model, self.email = clock.utc_now(), Model(), new_email()
        answer = self.post(0, "/auth/register", {"email": self.email, "password": PASSWORDS[0]})
        assert answer.status_code == 201
        self.id = answer.json()["id"]
        self.login(0, 0)

    @precondition(lambda self: len(self.model.sessions) < MOST)
    @rule(client=st.integers(0, 1), password=st.integers(0, len(PASSWORDS) - 1))
    def login(self, client: int, password: int) -> None:
        answer = self.post(client, "/auth/login", {"email": self.email, "password": PASSWORDS[password]})
        if self.model.active and password == self.model.password:
            assert answer.status_code == 200
            self.model.open(answer.json())
        else:
            assert problem(answer) == (401, "invalid_credentials")

    @rule(client=st.integers(0, 1), which=st.integers(0, MOST - 1), back=st.sampled_from((0, 0, 0, 1, 1, 2, 5)))
    def refresh(self, client: int, which: int, back: int) -> None:
        """Present the current refresh token of a session, or one from before it."""
        session = self.model.sessions[which % len(self.model.sessions)]
        generation = max(0, len(session.tokens) - 1 - back)
        self.present(client, session, generation)

    def present(self, client: int, session: Session, generation: int) -> None:
        answer = self.post(client, "/auth/refresh", {"refresh_token": session.tokens[generation]})
        refused = self.model.refusal(session, generation)
        if refused:
            assert problem(answer) == (401, refused)
            session.revoked = session.revoked or refused == "refresh_token_reused"
            return
        assert answer.status_code == 200
        pair = answer.json()
        if generation == len(session.tokens) - 1:
            self.model.rotate(session, pair["refresh_token"])
        assert pair["refresh_token"] == session.tokens[-1]
        self.model.add_access(session, pair)

    @rule(which=st.integers(0, MOST - 1))
    def stay_for_weeks(self, which: int) -> None:
        session = self.model.sessions[which % len(self.model.sessions)]
        for _ in range(5):
            self.advance(STEPS[2])
            self.present(0, session, len(session.tokens) - 1)

    @rule(which=st.integers(0, MOST - 1))
    def come_back_late(self, which: int) -> None:
        self.advance(3 * STEPS[2])
        session = self.model.sessions[which % len(self.model.sessions)]
        self.present(0, session, len(session.tokens) - 1)

    @rule(which=st.integers(0, MOST - 1), waited=st.integers(0, 4))
    def present_twice(self, which: int, waited: int) -> None:
        """Two tabs, or somebody who copied the token: it hangs on the seconds between them."""
        session = self.model.sessions[which % len(self.model.sessions)]
        generation = len(session.tokens) - 1
        self.present(0, session, generation)
        self.advance(waited * STEPS[0])
        self.present(1, session, generation)

    @rule(client=st.integers(0, 1), which=st.integers(0, MOST - 1), back=st.integers(0, 3))
    def logout(self, client: int, which: int, back: int) -> None:
        """By a refresh token of any generation: it says which session is meant."""
        session = self.model.sessions[which % len(self.model.sessions)]
        answer = self.post(
            client, "/auth/logout", {"refresh_token": session.tokens[max(0, len(session.tokens) - 1 - back)]}
        )
        assert answer.status_code == 204
        self.model.end(session)

    @rule(which=st.integers(0, MOST - 1), right=st.booleans(), new=st.integers(0, len(PASSWORDS) - 1))
    def change_password(self, which: int, right: bool, new: int) -> None:
        session = self.model.sessions[which % len(self.model.sessions)]
        access = list(session.access)[-1]
        refused = self.model.refuses(session, access)
        given = PASSWORDS[self.model.password] if right else PASSWORD[::-1]
        body = {"current_password": given, "new_password": PASSWORDS[new]}
        answer = self.post(0, "/users/me/password", body, access)
        if refused:
            assert answer.status_code == 401
        elif not right:
            assert problem(answer) == (403, "wrong_password")
        else:
            assert answer.status_code == 204
            self.model.password = new
            self.model.end_all(but=session)

    @rule(active=st.booleans())
    def disable_or_enable(self, active: bool) -> None:
        work = self.admin.client.patch(
            f"{V1}/admin/users/{self.id}", json={"is_active": active}, headers=self.as_admin()
        )
        assert self.wait(work).status_code == 200
        if not active:
            self.model.end_all()
        self.model.active = active

    def as_admin(self) -> dict[str, str]:
        """A new sign-in each time: the clock may stand weeks after the last one."""
        assert self.wait(self.admin.login()).status_code == 200
        return self.admin.bearer

    @rule(step=st.sampled_from(STEPS))
    def advance(self, step: timedelta) -> None:
        self.model.now += step

    @invariant()
    def every_access_token_is_what_the_model_says(self) -> None:
        for session in self.model.sessions:
            for access in list(session.access)[-2:]:
                refused, answer = self.model.refuses(session, access), self.me(access)
                if refused is None:
                    assert answer.status_code == 200
                    assert answer.json()["id"] == self.id
                elif refused == "disabled":
                    assert answer.status_code == 401
                else:
                    assert problem(answer) == (401, refused)


@pytest.mark.no_cover
async def test_sessions_do_what_the_model_says(new_client: NewClient, clean, clock) -> None:
    admin = Account(new_client())
    async with new_session() as db:
        await accounts.create_admin(db, UserCreate(email=admin.email, password=admin.password))
        await db.commit()

    class Here(Sessions):
        pass

    Here.loop, Here.clients, Here.admin = asyncio.get_running_loop(), [new_client(), new_client()], admin
    run = settings(
        max_examples=20,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    await asyncio.to_thread(run_state_machine_as_test, Here, settings=run)
