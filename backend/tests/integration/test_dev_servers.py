"""`make dev` with servers of one's own: DATABASE_URL, REDIS_URL and SMTP_URL take the place of the embedded parts."""

from pathlib import Path

import pytest

from tests.databases import empty_database
from tests.dev import Dev
from tests.flows import new_email
from tests.inbox import Inbox
from tests.processes import end
from tests.services import Services

pytestmark = [pytest.mark.timeout(240), pytest.mark.any_server]


async def test_servers_of_ones_own_take_the_place_of_the_embedded_ones(
    services: Services, smtp: Inbox, tmp_path: Path
) -> None:
    """The database is migrated, the work is done over the given Redis, and the mail goes to the given server."""
    from app.core.config import settings

    dev = Dev(
        tmp_path,
        DATABASE_URL=empty_database(services, "dev"),
        REDIS_URL=services.redis_url,
        REDIS_PREFIX=services.redis_prefix("dev"),
        SMTP_URL=settings.smtp_url,
    )
    try:
        await dev.ready()
        assert "Mailbox  goes to SMTP_URL" in dev.output()
        email = new_email()
        answer = await dev.client.post(
            "/api/v1/auth/register", json={"email": email, "password": "plum-otter-42-lantern"}
        )
        assert answer.status_code == 201, answer.text
        await smtp.wait_for(email)
        assert dev.child("valkey") == 0
        assert not (dev.data / "neoforge.db").exists()
        assert end(dev.process, within=40) == 0
        await dev.all_gone()
    finally:
        await dev.close()
