"""Where an account's owner is at home: the networks and browsers that signed in to it within 30 days."""

import hashlib
import re
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.context import origin
from app.core.networks import network_of
from app.crud import known_device
from app.models.known_device import KnownDevice
from app.models.user import User

KEPT = timedelta(days=30)
_VERSIONS = re.compile(r"[\d._]+")


class Sighting(NamedTuple):
    """What a sign-in says of the device that it came from."""

    new: bool
    """Nobody signed in to the account from this network with this browser within 30 days."""
    first: bool
    """No device of the account was known at all: there is nobody to be told of a new one."""


async def remember(db: AsyncSession, user_id: UUID) -> Sighting:
    """Keep that the request's network and browser signed in to this account."""
    came = origin.get()
    network, agent = network_of(came.ip if came else None), _digest(came.user_agent if came else None)
    device = KnownDevice(user_id=user_id, network=network, agent=agent, seen_at=utc_now())
    if await known_device.seen_again(db, device):
        return Sighting(new=False, first=False)
    first = not await known_device.any_of(db, user_id)
    return Sighting(new=await known_device.add(db, device), first=first)


async def account_at(db: AsyncSession, email: str) -> tuple[User | None, str | None]:
    """The account of a canonical address, and the request's network, if it signed in to it within 30 days."""
    came = origin.get()
    network = network_of(came.ip if came else None)
    found = await known_device.account_and_network(db, email, network, since=utc_now() - KEPT)
    return (found[0], network if found[1] else None) if found else (None, None)


def _digest(user_agent: str | None) -> str:
    """The same for every version of a browser."""
    return hashlib.sha256(_VERSIONS.sub("", user_agent or "").encode()).hexdigest()[:32]
