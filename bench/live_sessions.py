"""Signed-in accounts in bulk, in the environment of the API.

`python -m bench.live_sessions NUMBER` prints an access token and a refresh token a line. The rows and tokens are what
a sign-in makes; only the password has one hash for all, since 10,000 of them would take minutes.
"""

import asyncio
import sys

from app.core import logging
from app.core.db import dispose, new_session
from app.core.security import hash_password, start_secrets
from app.models import User
from app.services import key_ring, sessions

AT_ONCE = 500
PASSWORD = "plum-otter-42-lantern"


def email_of(one: int, number: int) -> str:
    """The address of one of `number` accounts."""
    return f"live-{one}-{number}@example.com"


async def make(number: int) -> None:
    logging.set_up("bench")
    start_secrets()
    hashed = await hash_password(PASSWORD)
    async with new_session() as db:
        await key_ring.before_signing(db)
        for start in range(0, number, AT_ONCE):
            users = [
                User(email=email_of(one, number), hashed_password=hashed, is_verified=True)
                for one in range(start, min(start + AT_ONCE, number))
            ]
            db.add_all(users)
            await db.flush()
            for user in users:
                pair = await sessions.open_session(db, user)
                print(pair.access_token, pair.refresh_token)
            await db.commit()
    await dispose()


if __name__ == "__main__":
    asyncio.run(make(int(sys.argv[1])))
