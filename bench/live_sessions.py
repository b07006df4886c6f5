"""Signed-in accounts in bulk, in the environment of the API.

`python -m bench.live_sessions NUMBER` prints an access token a line. The rows and tokens are what a sign-in makes; only
the password has one hash for all, since 10,000 of them would take minutes.
"""

import asyncio
import sys

from app.core import logging
from app.core.db import dispose, new_session
from app.core.security import hash_password, start_secrets
from app.models import User
from app.services import key_ring, sessions

AT_ONCE = 500


async def make(number: int) -> None:
    logging.set_up("bench")
    start_secrets()
    hashed = await hash_password("plum-otter-42-lantern")
    async with new_session() as db:
        await key_ring.before_signing(db)
        for start in range(0, number, AT_ONCE):
            users = [
                User(email=f"live-{one}-{number}@example.com", hashed_password=hashed, is_verified=True)
                for one in range(start, min(start + AT_ONCE, number))
            ]
            db.add_all(users)
            await db.flush()
            for user in users:
                print((await sessions.open_session(db, user)).access_token)
            await db.commit()
    await dispose()


if __name__ == "__main__":
    asyncio.run(make(int(sys.argv[1])))
