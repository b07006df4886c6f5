"""`python -m bench.hash_alone SECONDS`: Argon2id verifications a second, with the API's threads and nothing else."""

import asyncio
import sys
import time

from app.core.config import settings
from app.core.security import hash_password, password_matches

from bench.live_sessions import PASSWORD


async def hashes(seconds: float) -> float:
    hashed = await hash_password(PASSWORD)
    until, done = time.perf_counter() + seconds, 0

    async def go_on() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await password_matches(PASSWORD, hashed)
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(go_on() for _ in range(settings.hash_threads)))
    return done / (time.perf_counter() - began)


if __name__ == "__main__":
    print(asyncio.run(hashes(float(sys.argv[1]))))
