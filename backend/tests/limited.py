"""The environment of a server that has its limits, and counts for itself: no other test's requests are in its Redis."""

import os
import secrets


def limited(**env: str) -> dict[str, str]:
    return {
        "RATE_LIMIT_ENABLED": "true",
        "TRUSTED_PROXIES": "127.0.0.1/32",
        "REDIS_PREFIX": f"{os.environ['REDIS_PREFIX']}{secrets.token_hex(4)}:",
        **env,
    }
