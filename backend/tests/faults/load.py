"""Clients that register on and on while something breaks."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
from httpx2 import AsyncClient

from tests.faults.recorder import Recorder, is_unknown
from tests.faults.stack import NeverSent, answering
from tests.flows import PASSWORD, V1, new_email
from tests.waiting import eventually

IN_PROGRESS = 409  # the first request with this key has not been given up yet


@asynccontextmanager
async def load(address: str, recorder: Recorder, *, clients: int = 2, keyed: bool = False) -> AsyncIterator[None]:
    """Clients that register one account after another while the block runs.

    `keyed`: what was unknown is asked again with the same Idempotency-Key, until it is known.
    """
    done = anyio.Event()
    async with anyio.create_task_group() as together:
        for _ in range(clients):
            together.start_soon(register_on_and_on, address, recorder, done, keyed)
        yield
        done.set()


async def register_on_and_on(address: str, recorder: Recorder, done: anyio.Event, keyed: bool = False) -> None:
    async with AsyncClient(base_url=address, timeout=20, trust_env=False) as client:
        while not done.is_set():
            await register(client, recorder, again=keyed)


async def register(client: AsyncClient, recorder: Recorder, *, again: bool = False, email: str = "") -> str:
    """Register one account; its email."""
    email = email or new_email()
    body = {"email": email, "password": PASSWORD}
    headers = {"Idempotency-Key": secrets.token_hex(8)} if again else {}
    send = partial(client.post, f"{V1}/auth/register", json=body, headers=headers)

    async def known() -> bool:
        try:
            answer = await recorder.run(email, send)
        except NeverSent:
            await answering(str(client.base_url))
            return not again
        return not again or not (answer is None or is_unknown(answer.status_code) or answer.status_code == IN_PROGRESS)

    await eventually(known, within=120)
    return email
