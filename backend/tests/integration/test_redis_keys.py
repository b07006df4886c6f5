"""A Redis can be shared: everything that this installation puts there begins with its prefix."""

import os

from httpx2 import AsyncClient

from app.core.config import settings
from app.core.redis import redis_client
from tests.flows import signed_in
from tests.inbox import Inbox
from tests.services import PREFIX


async def test_every_key_and_channel_begins_with_the_prefix(client: AsyncClient, worker, smtp: Inbox) -> None:
    account = await signed_in(client)
    assert (await account.me()).status_code == 200
    await smtp.wait_for(account.email)  # so that Celery has carried something
    redis = redis_client()
    names = {key async for key in redis.scan_iter(count=1000)} | set(await redis.pubsub_channels())
    own = {name for name in names if settings.redis_prefix in name}
    assert any("default" in name for name in own), "not even the queue's binding is there"
    assert all(name.startswith(settings.redis_prefix) for name in own)
    if "TEST_REDIS_URL" not in os.environ:  # on a server of the run's own, nothing else may stand
        assert not [name for name in names if not name.startswith(PREFIX)]
