"""Clients that register on and on while something breaks."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from httpx2 import AsyncClient

from tests.faults.recorder import Recorder, is_unknown
from tests.faults.stack import NeverSent, answering
from tests.flows import PASSWORD, V1, new_email
from tests.waiting import eventually

IN_PROGRESS = 409  # the first request with this key has not been given up yet


async def nothing() -> None:
    """The lease of a key is waited for."""


@dataclass
class Load:
    """Clients of one API."""

    address: str
    recorder: Recorder
    keyed: bool = False
    """What was unknown is asked again with the same Idempotency-Key, until it is known."""
    in_progress: Callable[[], Awaitable[None]] = nothing
    """Called when the first request with a key still counts as running."""
    done: anyio.Event = field(default_factory=anyio.Event)

    async def register_on_and_on(self) -> None:
        async with AsyncClient(base_url=self.address, timeout=20, trust_env=False) as client:
            while not self.done.is_set():
                await self._register(client)

    async def _register(self, client: AsyncClient) -> None:
        body = {"email": new_email(), "password": PASSWORD}
        headers = {"Idempotency-Key": secrets.token_hex(8)} if self.keyed else {}

        async def settled() -> bool:
            try:
                answer = await self.recorder.run(
                    body["email"], lambda: client.post(f"{V1}/auth/register", json=body, headers=headers)
                )
            except NeverSent:
                await answering(self.address)
                return False
            if not self.keyed:
                return True
            if answer is not None and answer.status_code == IN_PROGRESS:
                await self.in_progress()
                return False
            return answer is not None and not is_unknown(answer.status_code)

        await eventually(settled, within=120)


@asynccontextmanager
async def load(
    address: str,
    recorder: Recorder,
    *,
    clients: int = 2,
    keyed: bool = False,
    in_progress: Callable[[], Awaitable[None]] = nothing,
) -> AsyncIterator[None]:
    """Clients that register one account after another while the block runs."""
    working = Load(address, recorder, keyed, in_progress)
    async with anyio.create_task_group() as together:
        for _ in range(clients):
            together.start_soon(working.register_on_and_on)
        yield
        working.done.set()
