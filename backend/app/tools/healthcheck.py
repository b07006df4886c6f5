"""`python -m app.tools.healthcheck`: whether the API of this container answers; exit code 0 or 1.

It needs the standard library only, since it runs every few seconds. It asks by the public name, since an API in
production answers no other.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

TIMEOUT = 4.0  # seconds


def healthy() -> bool:
    """Whether the process on PORT says 200 to `/api/v1/health`."""
    port = int(os.environ.get("PORT") or 8000)
    name = urlsplit(os.environ.get("PUBLIC_URL", "")).hostname or "localhost"
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/api/v1/health", headers={"Host": name})
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if healthy() else 1)
