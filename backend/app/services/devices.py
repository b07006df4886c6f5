"""Where an account's owner is at home: the networks and browsers that signed in to it within 30 days."""

import hashlib
import re
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.context import origin
from app.core.networks import network_of
from app.crud import known_device
from app.crud.known_device import Account
from app.models.known_device import KnownDevice

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
    device = of_request(user_id)
    if await known_device.seen_again(db, device):
        return Sighting(new=False, first=False)
    first = not await known_device.any_of(db, user_id)
    return Sighting(new=await known_device.add(db, device), first=first)


def of_request(user_id: UUID) -> KnownDevice:
    """What the request comes from, for an account."""
    came = origin.get()
    agent = _digest(came.user_agent if came else None)
    return KnownDevice(user_id=user_id, network=network(), agent=agent, seen_at=utc_now())


def network() -> str:
    """The request's."""
    came = origin.get()
    return network_of(came.ip if came else None)


def at_home_since() -> datetime:
    """Who was last here before then is a stranger."""
    return utc_now() - KEPT


async def account_at(db: AsyncSession, email: str) -> Account | None:
    """The account of a canonical address, and whether it knows the request's network."""
    return await known_device.account(db, email, network(), since=at_home_since())


def _digest(user_agent: str | None) -> str:
    """The same for every version of a browser."""
    return hashlib.sha256(_VERSIONS.sub("", user_agent or "").encode()).hexdigest()[:32]
