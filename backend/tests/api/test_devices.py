"""The networks and browsers that an account's owner signs in from."""

from datetime import timedelta

import pytest
from httpx2 import AsyncClient
from sqlmodel import select

from app.core.clock import utc_now
from app.core.context import Origin, origin
from app.core.sql import new_id
from app.models.known_device import KnownDevice
from app.models.user import User
from app.services import devices
from tests.flows import Account, signed_in
from tests.sweeping import sweep

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"


def came(ip: str, agent: str | None = FIREFOX) -> None:
    """Say where the request comes from that this test carries out itself."""
    origin.set(Origin("test", ip, agent))


@pytest.fixture
async def user(db) -> User:
    made = User(id=new_id(), email=f"{new_id()}@example.com", hashed_password="none")
    db.add(made)
    await db.flush()
    return made


async def test_signing_in_makes_the_device_known(db, client: AsyncClient) -> None:
    account = await signed_in(client)
    assert (await account.login()).status_code == 200
    await Account(client, account.email, "another-plum-otter-77").login()
    found = (await db.exec(select(KnownDevice).join(User).where(User.email == account.email))).all()
    assert [one.network for one in found] == ["127.0.0.0/24"]


async def test_a_wrong_password_makes_nothing_known(db, client: AsyncClient, new_client) -> None:
    account = await signed_in(client)
    stranger = Account(new_client(client_address="203.0.113.7"), account.email, "another-plum-otter-77")
    assert (await stranger.login()).status_code == 401
    found = (await db.exec(select(KnownDevice).join(User).where(User.email == account.email))).all()
    assert [one.network for one in found] == ["127.0.0.0/24"]


async def test_it_says_which_device_is_new_and_whether_it_is_the_first(db, user: User) -> None:
    came("192.0.2.1")
    assert await devices.remember(db, user.id) == (True, True)
    assert await devices.remember(db, user.id) == (False, False)
    came("192.0.2.200", FIREFOX.replace("142.0", "143.0.1"))  # the same network; the browser was updated
    assert await devices.remember(db, user.id) == (False, False)
    came("192.0.2.1", None)
    assert await devices.remember(db, user.id) == (True, False)
    came("198.51.100.1")
    assert await devices.remember(db, user.id) == (True, False)
    assert await devices.remember(db, user.id) == (False, False)


async def knows_network(db, user: User) -> bool:
    account = await devices.account_at(db, user.email)
    assert account is not None
    assert (account.id, account.hashed_password) == (user.id, user.hashed_password)
    return account.knows_network


async def test_a_network_is_known_for_thirty_days(db, user: User, clock) -> None:
    came("2001:db8:1:2::1")
    await devices.remember(db, user.id)
    came("2001:db8:1:2::ffff")
    assert await knows_network(db, user)
    clock.advance(timedelta(days=29))
    assert await knows_network(db, user)
    clock.advance(timedelta(days=2))
    assert not await knows_network(db, user)
    came("2001:db8:1:3::1")
    assert not await knows_network(db, user)


async def test_old_devices_are_swept(db, user: User) -> None:
    for days, network in ((31, "old"), (29, "young")):
        db.add(KnownDevice(user_id=user.id, network=network, agent="x", seen_at=utc_now() - timedelta(days=days)))
    await db.flush()
    assert (await sweep(db))["known_devices"] >= 1
    left = (await db.exec(select(KnownDevice.network).where(KnownDevice.user_id == user.id))).all()
    assert left == ["young"]
